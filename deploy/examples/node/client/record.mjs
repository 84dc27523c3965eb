/** The record of a token, as a verdict carries it: the facts that the application needs. */
import { MalformedMessageError, fieldsOf } from './messages.mjs';
import { remaining } from './scopes.mjs';
import { digest } from './tokens.mjs';

const ENVELOPE = 1;
const PLAIN = 1;
const NARROWED = 2;
const CONDITIONED = 3;
const HASH_BYTES = 32;
const KEY_ID_BYTES = 8;

/**
 * @typedef {object} Record
 * @property {string} tokenId
 * @property {string} kind
 * @property {string} subject
 * @property {readonly string[]} scopes what no narrowing removed: decide by these
 * @property {readonly string[]} scopesGranted what the token was issued with
 * @property {readonly string[]} scopesRemoved patterns
 * @property {readonly string[]} audience empty for every service
 * @property {number | bigint} issuedAtUs Unix µs
 * @property {number | bigint} notBeforeUs Unix µs
 * @property {number | bigint} expiresAtUs Unix µs
 * @property {string | null} tenant
 * @property {string | null} client
 * @property {string | null} session
 * @property {readonly (readonly [string, string])[]} labels
 * @property {readonly string[]} lineage token ids, from the root down to the parent
 * @property {readonly string[]} chain subjects of the lineage
 */

/**
 * Decode the record of a token out of its envelope. Throws MalformedMessageError, also if the
 * record is another token's.
 * @param {Uint8Array} envelope
 * @param {string} token
 * @returns {Record}
 */
export function decodeRecord(envelope, token) {
  const fields = fieldsOf(contentOf(envelope));
  const tag = fields.number();
  if (tag !== PLAIN && tag !== NARROWED && tag !== CONDITIONED) {
    throw new MalformedMessageError(`a record with the tag ${tag} may forbid what this client allows`);
  }
  if (!digest(token).equals(fields.bytes(HASH_BYTES))) {
    throw new MalformedMessageError('the record is of another token');
  }
  fields.number(); // the epoch
  fields.number(); // as of: the verdict's own is the current one
  const [tokenId, kind, subject] = [fields.text(), fields.text(), fields.text()];
  const [scopesGranted, audience] = [fields.texts(), fields.texts()];
  const issuedAtUs = fields.number();
  fields.number(); // the issued seq
  const [notBeforeUs, expiresAtUs] = [fields.number(), fields.number()];
  if (!fields.texts().includes('*')) throw new MalformedMessageError('a record lacks the handle *');
  fields.list(); // restrictions: the sidecar judged them
  const text = () => fields.optional(() => fields.text());
  const [tenant, client, session] = [text(), text(), text()];
  const [labels, lineage, chain] = [fields.pairs(), fields.texts(), fields.texts()];
  const scopesRemoved = tag === PLAIN ? [] : fields.texts();
  const scopes = remaining(scopesGranted, scopesRemoved);
  return Object.freeze({
    ...{ tokenId, kind, subject, scopes, scopesGranted, scopesRemoved, audience },
    ...{ issuedAtUs, notBeforeUs, expiresAtUs, tenant, client, session, labels, lineage, chain },
  });
}

/**
 * Return the content of an envelope. The sidecar has checked its signature.
 * @param {Uint8Array} envelope
 */
function contentOf(envelope) {
  const fields = fieldsOf(envelope);
  if (fields.number() !== ENVELOPE) throw new MalformedMessageError('it is not an envelope');
  fields.bytes(KEY_ID_BYTES);
  fields.bytes(); // the signature
  return fields.bytes();
}
