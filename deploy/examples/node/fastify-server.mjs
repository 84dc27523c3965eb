/** A service on Fastify: `RESCIND_SOCKET=… node fastify-server.mjs`. It prints its URL. */
import Fastify from 'fastify';
import { rescind } from './fastify.mjs';

const app = Fastify();
app.get('/healthz', () => 'ok'); // outside the group: without a token

app.register(async (group) => {
  group.addHook('onRequest', rescind({ require: ['search:read'], preflight: true }));

  group.options('/*', (request, reply) => {
    reply.header('Access-Control-Allow-Origin', 'https://app.example.com').code(204).send();
  });
  group.get('/', ({ rescind: { subject, scopes } }) => ({ subject, scopes }));
  group.get('/events', (request, reply) => {
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, { 'Content-Type': 'text/event-stream' });
    raw.write('data: begun\n\n');
    const timer = setInterval(() => raw.write('data: more\n\n'), 1_000);
    raw.on('close', () => clearInterval(timer)); // also when the token ends
  });
  group.get('/slow', async ({ rescind: { subject }, rescindSignal }, reply) => {
    reply.raw.writeProcessing(); // 102: begun. When the token ends, the caller gets the refusal
    await new Promise((resolve) => rescindSignal.addEventListener('abort', resolve));
    return { subject };
  });
  group.delete('/', { onRequest: rescind({ require: ['search:write'] }) }, (request, reply) => {
    reply.code(204).send();
  });
  group.get('/elsewhere', { onRequest: rescind({ audience: 'elsewhere' }) }, (request, reply) => {
    reply.code(204).send();
  });
});

console.log(await app.listen({ port: Number(process.env.PORT ?? 0), host: '127.0.0.1' }));
