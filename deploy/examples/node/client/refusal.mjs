/** How an HTTP service refuses a call (RFC 6750, RFC 9457), for every framework. */
const RETRY_AFTER_S = '1';
const METADATA = /^https?:\/\/[!#-[\]-~]+$/;
const NOT_JUDGED = new Set(['no_lease', 'unavailable']);
/** @type {Readonly<globalThis.Record<string, string>>} */
const DETAIL = Object.freeze({
  missing: 'No bearer token was sent.',
  malformed: 'The text that was sent is not a token.',
  unknown: 'The authority does not know this token.',
  expired: 'The token has expired.',
  not_yet_valid: 'The token is not valid yet.',
  revoked: 'The token was revoked.',
  suspended: 'The token is suspended.',
  wrong_audience: 'The token was issued for another service.',
  wrong_verifier: "The token may not be used at this service's place.",
  wrong_address: 'The token may not be used from this address.',
  insufficient_scope: 'The token lacks a scope that this call requires.',
  no_lease: 'This service cannot tell right now whether the token is still valid.',
  unavailable: 'This service cannot reach what would tell whether the token is valid.',
});

/**
 * @typedef {object} RefusalOptions
 * @property {readonly string[]} [require] the scopes that the call requires
 * @property {string} [resourceMetadata] the URL of the resource's metadata (RFC 9728)
 * @property {503 | 401} [staleStatus] the status without a lease; 401 for proxies that treat each
 *   5xx as a fault of the service
 *
 * @typedef {{ status: number, headers: { [name: string]: string }, body: string }} Refusal
 */

/**
 * Return the response for a denial.
 * @param {string} reason
 * @param {RefusalOptions} [options]
 * @returns {Refusal}
 */
export function refusalOf(reason, { require = [], resourceMetadata, staleStatus = 503 } = {}) {
  const notJudged = NOT_JUDGED.has(reason);
  const status = notJudged ? staleStatus : reason === 'insufficient_scope' ? 403 : 401;
  const problem = {
    type: `urn:rescind:denied:${reason}`,
    title: 'The call was refused',
    status,
    detail: DETAIL[reason],
    reason,
  };
  const body = JSON.stringify(problem);
  /** @type {Refusal['headers']} */
  const headers = {
    'Content-Type': 'application/problem+json',
    'Content-Length': String(Buffer.byteLength(body)),
    'Cache-Control': 'no-store',
    'X-Rescind-Reason': reason,
  };
  if (status !== 503) {
    const metadata = resourceMetadata ? [`resource_metadata="${resourceMetadata}"`] : [];
    const challenge = [...challengeOf(reason, notJudged, require), ...metadata];
    headers['WWW-Authenticate'] = `Bearer ${challenge.join(', ')}`;
  }
  if (notJudged) headers['Retry-After'] = RETRY_AFTER_S;
  return { status, headers, body };
}

/**
 * @param {string} reason
 * @param {boolean} notJudged
 * @param {readonly string[]} require
 */
function challengeOf(reason, notJudged, require) {
  // Without an error code: the client must not throw away a token that may be valid.
  if (notJudged || reason === 'missing') return ['realm="rescind"'];
  if (reason !== 'insufficient_scope') return ['error="invalid_token"'];
  return ['error="insufficient_scope"', `scope="${[...new Set(require)].sort().join(' ')}"`];
}

/**
 * Throw a TypeError for options that no refusal could be built from.
 * @param {RefusalOptions} options
 */
export function checkRefusalOptions({ resourceMetadata, staleStatus = 503 }) {
  if (resourceMetadata !== undefined && !METADATA.test(resourceMetadata)) {
    throw new TypeError('`resourceMetadata` is the URL of the metadata of the resource');
  }
  if (staleStatus !== 503 && staleStatus !== 401) {
    throw new TypeError('`staleStatus` is 503 or 401');
  }
}
