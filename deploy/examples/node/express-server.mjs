/** A service on Express: `RESCIND_SOCKET=… node express-server.mjs`. It prints its URL. */
import express from 'express';
import { rescind } from './express.mjs';

const app = express();
app.get('/healthz', (req, res) => {
  res.send('ok'); // before the middleware: without a token
});
app.use(rescind({ require: ['search:read'], preflight: true }));

app.options('/{*path}', (req, res) => {
  res.set('Access-Control-Allow-Origin', 'https://app.example.com').sendStatus(204);
});
app.get('/', (req, res) => {
  res.json({ subject: req.rescind.subject, scopes: req.rescind.scopes });
});
app.get('/events', (req, res) => {
  res.set('Content-Type', 'text/event-stream');
  res.write('data: begun\n\n');
  const timer = setInterval(() => res.write('data: more\n\n'), 1_000);
  res.on('close', () => clearInterval(timer)); // also when the token ends
});
app.get('/slow', (req, res) => {
  res.writeProcessing(); // 102: begun. When the token ends, the caller gets the refusal
  req.rescindSignal.addEventListener('abort', () => res.json({ subject: req.rescind.subject }));
});
app.delete('/', rescind({ require: ['search:write'] }), (req, res) => {
  res.sendStatus(204);
});
app.get('/elsewhere', rescind({ audience: 'elsewhere' }), (req, res) => {
  res.sendStatus(204);
});

const server = app.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
