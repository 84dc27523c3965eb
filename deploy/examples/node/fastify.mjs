/** A hook for Fastify: `app.addHook('onRequest', rescind({ require: ['search:read'] }))`. */
import { Guard } from './client/guard.mjs';

/**
 * Return a hook for `onRequest`, of the application or of one route, that admits calls with a valid
 * token. `request.rescind` is then the token's record, and `request.rescindSignal` aborts when the
 * token ends.
 * @param {import('./client/guard.mjs').GuardOptions} [options]
 */
export function rescind(options) {
  const guard = new Guard(options);
  /**
   * @param {any} request
   * @param {any} reply
   */
  return async function rescindHook(request, reply) {
    const answer = await guard.admit(request.raw, reply.raw, request.ip);
    if (answer && 'status' in answer) {
      // As bytes: Fastify adds a charset to the type of a text.
      return reply.code(answer.status).headers(answer.headers).send(Buffer.from(answer.body));
    }
    if (answer) Object.assign(request, { rescind: answer.record, rescindSignal: answer.signal });
    return undefined;
  };
}
