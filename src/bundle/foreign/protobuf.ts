/**
 * Protocol buffers' wire format, as much as reading needs: a message as its fields in order. Nested messages stay bytes
 * until somebody asks for them, so depth and time are what the reader of a schema chooses.
 */
import { LimitError } from '../../core/errors.ts';
import { ByteCursor } from './byte-cursor.ts';

export interface ProtobufField {
  readonly number: number;
  /** 0: varint, 1: 8 bytes, 2: length-delimited, 5: 4 bytes. */
  readonly wire: 0 | 1 | 2 | 5;
  /** The varint's value, modulo 2^64; 0 for other wire types. */
  readonly varint: bigint;
  /** The bytes of other wire types; empty for varints. */
  readonly bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);
const VARINT_BYTES = 10;

/** @throws MalformedFileError where bytes are no varint of at most 64 bits. */
export function readVarint(cursor: ByteCursor): bigint {
  // Most are one byte: BigInt arithmetic for those alone would dominate.
  const first = cursor.u8();
  if (first < 0x80) return BigInt(first);
  let value = BigInt(first & 0x7f);
  for (let i = 1; i < VARINT_BYTES; i++) {
    const byte = cursor.u8();
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return BigInt.asUintN(64, value);
  }
  return cursor.fail(`a number of at most ${VARINT_BYTES} bytes`, 'a longer one');
}

/** The fields of a message in order. @throws MalformedFileError, LimitError */
export function* readFields(field: string, message: Uint8Array): Generator<ProtobufField> {
  const cursor = new ByteCursor(field, message);
  while (cursor.remaining > 0) {
    const key = Number(readVarint(cursor));
    const number = Math.floor(key / 8);
    if (number < 1 || number > 536_870_911) cursor.fail('a field number from 1 to 2^29 − 1', `${number}`);
    const wire = key % 8;
    if (wire === 0) yield { number, wire, varint: readVarint(cursor), bytes: NO_BYTES };
    else if (wire === 1) yield { number, wire, varint: 0n, bytes: cursor.bytes(8) };
    else if (wire === 2) yield { number, wire, varint: 0n, bytes: cursor.bytes(safeNumber(field, readVarint(cursor))) };
    else if (wire === 5) yield { number, wire, varint: 0n, bytes: cursor.bytes(4) };
    else cursor.fail('wire type 0, 1, 2 or 5', `${wire}`);
  }
}

/** @throws LimitError above 2^53 − 1. */
export function safeNumber(field: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new LimitError({ field, expected: 'a number below 2^53', got: `${value}` });
  return Number(value);
}
