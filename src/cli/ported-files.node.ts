/** What `transfer` writes with --like: weights as another file has them, or, where that is a LoRA adapter, the adapter of the target. */
import { recordedRules } from '../bundle/foreign/name-rules.ts';
import { sha256Hex } from '../core/sha256.ts';
import type { TrajectoryBundle, TransferResult } from '../index.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { partOf } from '../transfer/trajectory.ts';
import { adapterFiles, adapterPaths, isAdapterLike, openAdapterPort, remarkAdapterName } from './adapters.node.ts';
import type { AdapterPort } from './adapters.node.ts';
import type { Context } from './command.ts';
import { UsageError } from './exit.ts';
import type { WrittenAs } from './transfer-report.ts';
import { claimParts, filesOf, formatOf, readLike, tensorsLike } from './written-weights.node.ts';
import type { Like, WeightFile } from './written-weights.node.ts';

/** Options of `transfer` that say what is written, and those by which a port is no longer an adapter's change. */
interface LikeValues {
  readonly like: string | undefined;
  readonly out: string | undefined;
  readonly target: string | undefined;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly trajectory: string | undefined;
  readonly skip: readonly string[] | undefined;
  readonly 'target-seed': number | undefined;
  readonly 'fresh-head': boolean;
}

export interface LikeOutput {
  readonly like: Like;
  readonly out: string;
  /** Where --like is an adapter. */
  readonly adapter: AdapterPort | undefined;
}

interface LikeFiles extends Pick<WrittenAs, 'path' | 'leftOut' | 'isAdapter'> {
  readonly files: readonly WeightFile[];
}

/**
 * Reads all that is needed for it before the work, and claims the files.
 * @throws UsageError, and what is wrong with the file of --like.
 */
export async function openLike(
  context: Context, values: LikeValues, bundle: TrajectoryBundle, target: NetworkState,
): Promise<LikeOutput | undefined> {
  const { claim, signal } = context;
  const like = await readLike(values.like, signal);
  if (like === undefined || values.out === undefined) return undefined;
  const { out } = values;
  if (isAdapterLike(like)) return { like, out, adapter: await openAdapter(context, values, like, out, bundle) };
  // Of the target they have the names of the result's.
  const { files } = await weightsLike({ like, out }, bundle, target);
  claimParts(claim, '--out', files.map(({ path }) => path));
  return { like, out, adapter: undefined };
}

/** @throws UsageError for choices by which a port is no longer an adapter's change. */
async function openAdapter(
  { claim, output, signal }: Context, values: LikeValues, like: Like, out: string, bundle: TrajectoryBundle,
): Promise<AdapterPort> {
  const excluded = ['target-seed', 'skip', 'fresh-head'] as const;
  const refused = excluded.find((option) => values[option] !== undefined && values[option] !== false);
  if (refused !== undefined) throw new UsageError(`--${refused} does not go with --like ${like.path}, a LoRA adapter`);
  if (values.trajectory === 'real')
    throw new UsageError(`--trajectory real does not go with --like ${like.path}, a LoRA adapter: what a step adds is no share of it`);
  const adapter = await openAdapterPort({ like, target: values.target as string, out }, bundle, partOf(bundle, values), signal);
  claimParts(claim, '--out', adapterPaths(out), [adapter.configPath]);
  remarkAdapterName(output, out);
  return adapter;
}

/** What is written of a result. */
export async function filesLike(
  output: LikeOutput, bundle: TrajectoryBundle, target: NetworkState, result: TransferResult, signal: AbortSignal,
): Promise<LikeFiles> {
  if (output.adapter === undefined) return weightsLike(output, bundle, result.state);
  return { path: output.like.path, leftOut: [], isAdapter: true, files: await adapterFiles(output.adapter, target, result, signal) };
}

async function weightsLike(
  { like, out }: Pick<LikeOutput, 'like' | 'out'>, { graph, training }: TrajectoryBundle, state: NetworkState,
): Promise<LikeFiles> {
  const { tensors, besides, leftOut } = tensorsLike(like, graph, state, recordedRules(training));
  const { files } = await filesOf(out, tensors, { format: formatOf('--out', out), ...besides });
  return { path: like.path, leftOut, isAdapter: false, files };
}

export async function hashed({ files, ...like }: LikeFiles): Promise<WrittenAs> {
  const withHash = async ({ path, name, bytes }: WeightFile): Promise<WrittenAs['files'][number]> =>
    ({ path, name, bytes: bytes.byteLength, sha256: await sha256Hex(bytes) });
  return { ...like, files: await Promise.all(files.map(withHash)) };
}
