/** The options of a check, and the request that follows from them. */
import { isScope } from './scopes.mjs';
import { isToken } from './tokens.mjs';

const OPTIONS = new Set(['require', 'audience', 'address', 'minSeq', 'timeoutMs']);

/**
 * @typedef {object} CheckOptions
 * @property {readonly string[]} [require] the scopes that the token must have
 * @property {string} [audience] the service; the sidecar's own by default
 * @property {string} [address] the caller's address; tokens that are bound to networks need it
 * @property {number | bigint} [minSeq] a position of the ledger that the answer must cover
 * @property {number} [timeoutMs] how long to wait for the sidecar
 */

/**
 * Throw a TypeError for wrong options.
 *
 * A misspelled option would check less than the caller believes, and a scope such as `a:x b:y`
 * would be covered by the pattern `a:*`.
 * @param {CheckOptions} options
 */
export function checkOptions(options) {
  for (const name of Object.keys(options)) {
    if (!OPTIONS.has(name)) throw new TypeError(`${name} is not an option of a check`);
  }
  const { require = [], audience = null, address = null, minSeq = 0 } = options;
  if (!Array.isArray(require) || !require.every(isScope)) {
    throw new TypeError('`require` is an array of valid scopes, such as ["search:read"]');
  }
  if (audience !== null && (typeof audience !== 'string' || audience === '')) {
    throw new TypeError('`audience` is the name of a service');
  }
  if (address !== null && typeof address !== 'string') {
    throw new TypeError('`address` is the address of the caller, as text');
  }
  if (!(typeof minSeq === 'bigint' || Number.isSafeInteger(minSeq)) || minSeq < 0) {
    throw new TypeError('`minSeq` is the `seq` that a revocation returned');
  }
}

/**
 * Return the request of a check, or the reason for which none is sent. Throws a TypeError.
 * @param {unknown} token
 * @param {CheckOptions} options
 * @returns {import('./messages.mjs').CheckRequest | string}
 */
export function requestOf(token, options) {
  checkOptions(options);
  if (token === undefined || token === null) return 'missing';
  if (typeof token !== 'string' || !isToken(token)) return 'malformed';
  const { require = [], audience = null, address = null, minSeq = 0 } = options;
  return { token, require: [...require], audience, minSeq, address };
}
