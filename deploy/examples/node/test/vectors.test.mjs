/** The samples for clients in other languages. `VECTORS` names their folder for a copy of this one. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  Frames,
  MalformedMessageError,
  decodeResponse,
  encodeCheck,
  encodeWatch,
} from '../client/messages.mjs';
import { decodeRecord } from '../client/record.mjs';
import { covers, isScope, remaining } from '../client/scopes.mjs';
import { bearerToken, checksum, digest, isToken } from '../client/tokens.mjs';

const FOLDER = process.env.VECTORS ?? new URL('../../../../tests/vectors', import.meta.url).pathname;
const read = (name) => JSON.parse(readFileSync(`${FOLDER}/${name}.json`, 'utf8'));
const { requests, responses } = read('socket');
const tokens = read('tokens');
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const messageOf = (frame) => [...new Frames().feed(Buffer.from(frame, 'hex'))][0];

for (const { name, message, fields, frame } of requests) {
  const { request, token, require, audience, min_seq: minSeq, address } = fields;
  if (message === 'Check' && typeof token === 'string') {
    test(`the request "${name}" has the bytes of the sample`, () => {
      assert.equal(hex(encodeCheck(request, { token, require, audience, minSeq, address })), frame);
    });
  } else if (message === 'Watch') {
    test(`the request "${name}" has the bytes of the sample`, () => {
      assert.equal(hex(encodeWatch(request)), frame);
    });
  }
}

for (const { name, message, fields, frame } of responses) {
  if (message === 'Verdict') {
    test(`the response "${name}" is read as the sample says`, () => {
      const { record, ...verdict } = decodeResponse(messageOf(frame));
      assert.deepEqual(verdict, {
        type: 'verdict',
        n: fields.request,
        instance: fields.instance,
        reason: fields.reason,
        asOf: fields.as_of,
        freshForMs: fields.fresh_for_ms,
        tokenForMs: fields.token_for_ms,
      });
      assert.equal(record && hex(record), fields.record);
    });
  } else if (message === 'Greeting') {
    test(`the response "${name}" is read as the sample says`, () => {
      const expected = { type: 'greeting', service: fields.service };
      assert.deepEqual(decodeResponse(messageOf(frame)), expected);
    });
  } else if (message === 'Changed') {
    test(`the response "${name}" is read as the sample says`, () => {
      const expected = { type: 'changed', n: fields.request, asOf: fields.as_of };
      assert.deepEqual(decodeResponse(messageOf(frame)), expected);
    });
  } else {
    test(`the response "${name}", which was not requested, is refused`, () => {
      assert.throws(() => decodeResponse(messageOf(frame)), MalformedMessageError);
    });
  }
}

test('frames are split however they arrive', () => {
  const bytes = Buffer.from(responses.map(({ frame }) => frame).join(''), 'hex');
  const whole = [...new Frames().feed(bytes)].map(hex);
  assert.equal(whole.length, responses.length);
  const frames = new Frames();
  const split = [...bytes].flatMap((byte) => [...frames.feed(Buffer.of(byte))].map(hex));
  assert.deepEqual(split, whole);
});

test('a frame above the bound is refused', () => {
  const bytes = Buffer.from('00100001', 'hex');
  assert.throws(() => [...new Frames().feed(bytes)], MalformedMessageError);
});

test('a number above a double is exact', () => {
  const seq = 2n ** 62n;
  const request = { token: 't', require: [], audience: null, minSeq: seq, address: null };
  assert.match(hex(encodeCheck(1, request)), /cf4000000000000000$/);
  const changed = decodeResponse(Buffer.from('930a01cf4000000000000000', 'hex'));
  assert.equal(changed.asOf, seq);
});

test('the form of a token is that of the samples', () => {
  for (const { token, sha256 } of tokens.good) {
    assert.ok(isToken(token));
    assert.equal(hex(digest(token)), sha256);
  }
  for (const [name, text] of Object.entries(tokens.malformed)) {
    // Only the sidecar knows which prefix is valid.
    assert.equal(isToken(text), name === 'the prefix is another', name);
  }
  for (const [text, crc] of Object.entries(tokens.checksums)) assert.equal(checksum(text), crc);
});

test('a request has one bearer token, or none, or an empty one for two headers', () => {
  assert.equal(bearerToken(['Host', 'x', 'authorization', 'bEARER  abc ']), 'abc');
  assert.equal(bearerToken(['Authorization', 'Basic abc']), undefined);
  assert.equal(bearerToken(['X', 'Authorization']), undefined);
  assert.equal(bearerToken(['Authorization', 'Bearer a', 'AUTHORIZATION', 'Bearer a']), '');
});

for (const { name, fields, scopes, envelope } of read('records').records) {
  test(`the record "${name}" is read as the sample says`, () => {
    const record = decodeRecord(Buffer.from(envelope, 'hex'), read('records').token);
    assert.deepEqual(
      { ...record },
      {
        tokenId: fields.token_id,
        kind: fields.kind,
        subject: fields.subject,
        scopes,
        scopesGranted: fields.granted,
        scopesRemoved: fields.removed,
        audience: fields.audience,
        issuedAtUs: fields.issued_at_us,
        notBeforeUs: fields.not_before_us,
        expiresAtUs: fields.expires_at_us,
        tenant: fields.tenant,
        client: fields.client,
        session: fields.session,
        labels: fields.labels,
        lineage: fields.lineage,
        chain: fields.chain,
      },
    );
  });
}

test('a record of another token, and a record with a tag that is not known, are refused', () => {
  const [{ envelope }] = read('records').records;
  const bytes = Buffer.from(envelope, 'hex');
  assert.throws(() => decodeRecord(bytes, tokens.good[1].token), MalformedMessageError);
  const content = bytes.indexOf(Buffer.from('c420', 'hex')) - 1; // the tag is before the hash
  bytes[content] = 4;
  assert.throws(() => decodeRecord(bytes, read('records').token), /tag 4/);
});

const scopeVectors = read('scopes');

test('a scope is valid or not as the samples say', () => {
  for (const scope of scopeVectors.valid) assert.ok(isScope(scope), scope);
  for (const scope of [...scopeVectors.invalid, 7, null]) assert.ok(!isScope(scope), String(scope));
});

test('a pattern covers what the samples say', () => {
  for (const { pattern, scope, covers: expected } of scopeVectors.covers) {
    assert.equal(covers(pattern, scope), expected, `${pattern} and ${scope}`);
  }
});

test('what is left of a grant is what the samples say', () => {
  for (const { granted, removed, remaining: expected } of scopeVectors.remaining) {
    assert.deepEqual(remaining(granted, removed), expected);
  }
});
