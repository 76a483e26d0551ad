/** Which files beside it a JSON document of weights names. */
import { limits } from '../../core/limits.ts';
import { type JsonValue, decodeUtf8, isJsonObject, parseJsonObject } from '../json.ts';

/** A topology may hold large attributes; a hundred of the largest published are below this. */
export const MODEL_JSON_BYTES = 4 * limits.manifestBytes;

/**
 * Names in the index of a model in parts, or in a TensorFlow.js manifest; none for any other document. What is wrong with either is left to
 * its reader.
 * @throws MalformedFileError, LimitError for what is no JSON object.
 */
export function partNames(bytes: Uint8Array): readonly string[] {
  const { weight_map: shards, weightsManifest: groups } = parseJsonObject(decodeUtf8('', bytes), { field: '' });
  const named: readonly (JsonValue | undefined)[] = [
    ...(isJsonObject(shards) ? Object.values(shards) : []),
    ...(Array.isArray(groups)
      ? groups.flatMap((group) => (isJsonObject(group) && Array.isArray(group['paths']) ? group['paths'] : []))
      : []),
  ];
  return [...new Set(named.filter((name) => typeof name === 'string'))];
}
