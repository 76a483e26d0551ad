/**
 * A coding of ZipNN's kind (Hershcovitch et al. 2024), for comparison: the sign bit moved to the end of each f32, so that
 * one byte is the exponent; the four bytes in planes of 32,768, each Huffman-coded where that pays. It knows nothing of
 * the other checkpoints of a trajectory.
 */
import { openCodec } from '../../src/bundle/codec-instance.ts';

const PLANE_ELEMENTS = 32_768;

/** Coded length in bytes of the files, each by itself. */
export async function exponentCodedBytes(files: readonly Uint8Array<ArrayBuffer>[]): Promise<number> {
  const codec = await openCodec();
  let bytes = 0;
  for (const file of files) {
    const words = new Uint32Array(file.slice(0, file.byteLength & ~3).buffer);
    for (let i = 0; i < words.length; i++) words[i] = ((words[i] as number) << 1) | ((words[i] as number) >>> 31);
    const stream = codec.deflate((part) => void (bytes += part.byteLength));
    for (let at = 0; at < words.length; at += PLANE_ELEMENTS) {
      const chunk = new Uint8Array(words.slice(at, at + PLANE_ELEMENTS).buffer);
      const planes = new Uint8Array(chunk.byteLength);
      codec.splitChunk(chunk, undefined, planes);
      const elements = chunk.byteLength / 4;
      for (let plane = 0; plane < 4; plane++) stream.write(planes.subarray(plane * elements, (plane + 1) * elements));
    }
    stream.end();
  }
  return bytes;
}
