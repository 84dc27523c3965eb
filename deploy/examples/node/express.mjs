/** Middleware for Express 5 and 4: `app.use(rescind({ require: ['search:read'] }))`. */
import { Guard, send } from './client/guard.mjs';

/**
 * Return middleware that admits calls with a valid token. `req.rescind` is then the token's record,
 * and `req.rescindSignal` aborts when the token ends.
 * @param {import('./client/guard.mjs').GuardOptions} [options]
 */
export function rescind(options) {
  const guard = new Guard(options);
  /**
   * @param {any} req
   * @param {any} res
   * @param {(error?: unknown) => void} next
   */
  return async function rescindMiddleware(req, res, next) {
    let answer;
    try {
      answer = await guard.admit(req, res, req.ip);
    } catch (error) {
      next(error); // Express 4 does not wait for a promise
      return;
    }
    if (answer && 'status' in answer) {
      send(res, answer);
      return;
    }
    if (answer) Object.assign(req, { rescind: answer.record, rescindSignal: answer.signal });
    next();
  };
}
