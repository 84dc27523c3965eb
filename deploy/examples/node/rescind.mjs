/**
 * Check rescind tokens at the sidecar beside this process, over its Unix socket.
 *
 *     const rescind = new Rescind(); // once in each process
 *     const answer = await rescind.check(token, { require: ['search:read'] }); // for every request
 *     if (answer.allowed) console.log(answer.record.subject);
 *     else console.log(answer.reason);
 *
 * Only a check knows of the latest revocation: do not keep its answer. Node can neither map the
 * sidecar's table nor read it in order, so each check is one message over the socket.
 */
import { CLOSED, LATE } from './client/connection.mjs';
import { Holds } from './client/holds.mjs';
import { Link } from './client/link.mjs';
import { MalformedMessageError } from './client/messages.mjs';
import { decodeRecord } from './client/record.mjs';
import { requestOf } from './client/request.mjs';

export { DeniedError } from './client/holds.mjs';

/** Every reason for a denial. A reason that is not here comes from a newer sidecar. */
export const REASONS = Object.freeze([
  ...['missing', 'malformed', 'unknown', 'expired', 'not_yet_valid', 'revoked', 'suspended'],
  ...['wrong_audience', 'wrong_verifier', 'wrong_address', 'insufficient_scope'],
  ...['no_lease', 'unavailable'],
]);

const TIMEOUT_MS = 1_000;

/**
 * @typedef {import('./client/record.mjs').Record} Record
 * @typedef {import('./client/messages.mjs').CheckRequest} CheckRequest
 * @typedef {import('./client/request.mjs').CheckOptions} CheckOptions
 * @typedef {import('./client/messages.mjs').Verdict} Verdict
 * @typedef {import('./client/holds.mjs').Hold} Hold
 *
 * @typedef {{ allowed: true, record: Record, asOf: number | bigint }} Allowed
 * @typedef {{ allowed: false, reason: string }} Denied
 * @typedef {Allowed & { instance: string, freshForMs: number, tokenForMs: number | null }} Fresh
 */

export class Rescind {
  #timeoutMs;
  #link;
  #holds;

  /**
   * @param {object} [options]
   * @param {string} [options.socket] the path of the sidecar's socket; by default it is in
   *   `RESCIND_SOCKET`, or follows from `RESCIND_SERVICE`
   * @param {number} [options.timeoutMs] the deadline of a check
   */
  constructor({ socket = defaultSocket(), timeoutMs = TIMEOUT_MS } = {}) {
    if (typeof socket !== 'string' || socket === '') {
      throw new TypeError('`socket` is the path of the sidecar');
    }
    this.#timeoutMs = timeoutMs;
    this.#link = new Link(socket, timeoutMs);
    this.#holds = new Holds(socket, timeoutMs, (request, ms) => this.#verdict(request, ms));
  }

  /**
   * Check a token. A token that is not valid is denied; only wrong options throw a TypeError.
   *
   * @param {string | null | undefined} token
   * @param {CheckOptions} [options]
   * @returns {Promise<Allowed | Denied>}
   */
  async check(token, options = {}) {
    const request = requestOf(token, options);
    if (typeof request === 'string') return denied(request);
    const verdict = await this.#verdict(request, options.timeoutMs ?? this.#timeoutMs);
    return verdict.allowed
      ? { allowed: true, record: verdict.record, asOf: verdict.asOf }
      : verdict;
  }

  /**
   * Check a token, and hold it: `signal` of the answer aborts when a check would be denied.
   *
   * Call `release()` of the answer when the work is done. `signal.reason` is a DeniedError.
   * @param {string | null | undefined} token
   * @param {CheckOptions} [options]
   * @returns {Promise<Hold | Denied>}
   */
  async hold(token, options = {}) {
    const request = requestOf(token, options);
    if (typeof request === 'string') return denied(request);
    return this.#holds.begin(request, options.timeoutMs ?? this.#timeoutMs);
  }

  /** Close the connections, and end all holds as `unavailable`. */
  close() {
    this.#link.close();
    this.#holds.close();
  }

  /**
   * Request a verdict, once more if the connection ends meanwhile: a check changes nothing.
   * @param {CheckRequest} request
   * @param {number} timeoutMs
   * @returns {Promise<Fresh | Denied>}
   */
  async #verdict(request, timeoutMs) {
    const deadline = performance.now() + timeoutMs;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const connection =
        this.#link.current ?? (await within(this.#link.connection(), deadline - performance.now()));
      const leftMs = deadline - performance.now();
      if (connection === undefined || leftMs <= 0) break;
      const answer = await connection.check(request, leftMs);
      if (answer === LATE) break;
      if (answer !== CLOSED) return judge(answer, request);
    }
    return denied('unavailable');
  }
}

/**
 * Return what a verdict means for its request. Deny what this client does not understand.
 * @param {Verdict} verdict
 * @param {CheckRequest} request
 * @returns {Fresh | Denied}
 */
function judge(verdict, request) {
  const { instance, reason, record, asOf, freshForMs, tokenForMs } = verdict;
  if (reason !== null) return denied(REASONS.includes(reason) ? reason : 'unavailable');
  if (record === null || asOf < request.minSeq) return denied('unavailable');
  try {
    const decoded = decodeRecord(record, request.token);
    return { allowed: true, record: decoded, instance, asOf, freshForMs, tokenForMs };
  } catch (error) {
    if (!(error instanceof MalformedMessageError)) throw error;
    return denied('unavailable');
  }
}

/**
 * @param {string} reason
 * @returns {Denied}
 */
function denied(reason) {
  return { allowed: false, reason };
}

/**
 * Return the result of a promise, or undefined if it comes too late.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} timeoutMs
 * @returns {Promise<T | undefined>}
 */
async function within(promise, timeoutMs) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await /** @type {Promise<T | undefined>} */ (Promise.race([promise, late]));
  } finally {
    clearTimeout(timer);
  }
}

function defaultSocket() {
  const { RESCIND_SOCKET: socket, RESCIND_SERVICE: service } = process.env;
  if (socket) return socket;
  if (service) return `/run/rescind/${service}.sock`;
  throw new TypeError('set RESCIND_SOCKET to the path of the sidecar, or RESCIND_SERVICE');
}
