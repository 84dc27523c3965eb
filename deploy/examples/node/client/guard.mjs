/** What the middleware for Express and the hook for Fastify share: one call from start to end. */
import { Rescind } from '../rescind.mjs';
import { checkRefusalOptions, refusalOf } from './refusal.mjs';
import { checkOptions } from './request.mjs';
import { bearerToken } from './tokens.mjs';

const OPTIONS = new Set([
  ...['rescind', 'require', 'audience', 'hold', 'preflight'],
  ...['resourceMetadata', 'staleStatus'],
]);

/**
 * @typedef {object} GuardOptions
 * @property {Rescind} [rescind] the client; by default all guards of the process share one
 * @property {readonly string[]} [require] the scopes that the token must have
 * @property {string} [audience] the service; the sidecar's own by default
 * @property {boolean} [hold] false lets calls that have begun finish; true by default
 * @property {boolean} [preflight] true lets the OPTIONS of browsers (CORS) pass without a token
 * @property {string} [resourceMetadata] the URL of the resource's metadata (RFC 9728)
 * @property {503 | 401} [staleStatus] the status without a lease; 503 by default
 *
 * @typedef {import('../rescind.mjs').Record} Record
 * @typedef {import('./refusal.mjs').Refusal} Refusal
 * @typedef {import('node:http').IncomingMessage} IncomingMessage
 * @typedef {import('node:http').ServerResponse} ServerResponse
 *
 * @typedef {{ record: Record, signal?: AbortSignal }} Call what the application sees of the token
 */

/** @type {Rescind | undefined} */
let shared;

/** A guard decides on each call, and ends a call whose token ends. */
export class Guard {
  #options;

  /**
   * Throws a TypeError for an option that is not known: it might have been meant to forbid.
   * @param {GuardOptions} [options]
   */
  constructor(options = {}) {
    for (const name of Object.keys(options)) {
      if (!OPTIONS.has(name)) throw new TypeError(`${name} is not an option of the middleware`);
    }
    const { require, audience } = options;
    checkOptions({ require, audience });
    checkRefusalOptions(options);
    this.#options = { hold: true, preflight: false, require: [], ...options };
    this.#options.rescind ??= shared ??= new Rescind();
  }

  /**
   * Decide on a call. Returns what the application may see, a refusal, or undefined for a
   * preflight that passes.
   * @param {IncomingMessage} request
   * @param {ServerResponse} response
   * @param {string | undefined} address the caller's, if it is known
   * @returns {Promise<Call | Refusal | undefined>}
   */
  async admit(request, response, address) {
    const { rescind, require, audience, hold, preflight } = this.#options;
    if (preflight && isPreflight(request)) return undefined;
    const token = bearerToken(request.rawHeaders);
    const check = {
      require,
      ...(audience === undefined ? {} : { audience }),
      ...(address ? { address } : {}),
    };
    const answer = await /** @type {Rescind} */ (rescind)[hold ? 'hold' : 'check'](token, check);
    if (!answer.allowed) return refusalOf(answer.reason, this.#options);
    if (!('signal' in answer)) return { record: answer.record };
    const { record, signal, release } = answer;
    if (signal.aborted) return refusalOf(signal.reason.reason, this.#options);
    const cut = () => this.#cut(response, signal.reason.reason);
    signal.addEventListener('abort', cut);
    const over = () => {
      signal.removeEventListener('abort', cut);
      release();
    };
    response.once('close', over);
    if (response.closed || response.destroyed) over();
    return { record, signal };
  }

  /**
   * End a call whose token has ended: with a refusal, or in the middle of its response.
   * @param {ServerResponse} response
   * @param {string} reason
   */
  #cut(response, reason) {
    if (response.writableEnded) return; // the application was faster, or another guard
    if (response.headersSent) {
      response.destroy();
      return;
    }
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    send(response, refusalOf(reason, this.#options));
    mute(response);
  }
}

/**
 * Send a refusal.
 * @param {ServerResponse} response
 * @param {Refusal} refusal
 */
export function send(response, { status, headers, body }) {
  response.writeHead(status, headers).end(body);
}

/**
 * Ignore what the application still writes: Node would throw where nothing may catch it.
 * @param {ServerResponse} response
 */
function mute(response) {
  const same = () => response;
  Object.assign(response, {
    ...{ setHeader: same, setHeaders: same, appendHeader: same, removeHeader: () => {} },
    ...{ writeHead: same, flushHeaders: () => {}, write: () => false, end: same },
  });
}

/**
 * Return true for the request that a browser sends before a call to another origin.
 * @param {IncomingMessage} request
 */
function isPreflight({ method, headers }) {
  const asks = headers['access-control-request-method'];
  return method === 'OPTIONS' && headers.origin !== undefined && asks !== undefined;
}
