// The parts of a reference case's manifest.json that we read; its format is described beside the cases.

export interface TensorReference {
  readonly file: string;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly dtype: 'f32' | 'i32' | 'u8';
}

export type TensorRecord = Readonly<Record<string, TensorReference>>;

export interface CheckpointRecord {
  readonly params: TensorRecord;
  readonly buffers: TensorRecord;
}

export interface GradientPairRecord {
  readonly grad_point: number;
  readonly batches: readonly (readonly number[])[];
  readonly losses: readonly { readonly transferred: number; readonly source: number }[];
  readonly params_transferred?: TensorRecord;
  readonly grad_transferred?: TensorRecord;
  readonly grad_source?: TensorRecord;
}

export interface LapRecord {
  readonly perm: string;
  readonly A: TensorReference;
  readonly assignment: TensorReference;
  readonly objective: number;
}

export interface StepRecord {
  readonly t: number;
  readonly val_loss: number;
  readonly val_acc: number;
  readonly grad_pairs: readonly GradientPairRecord[];
  readonly n_pairs_in_solve?: number;
  readonly sweeps?: readonly { readonly order: readonly number[]; readonly laps: readonly LapRecord[] }[];
  readonly perm?: TensorRecord;
  readonly params?: TensorRecord;
  readonly bn_batches?: readonly (readonly number[])[];
  readonly bn_buffers?: TensorRecord;
}

export type RunMode = 'naive' | 'oracle' | 'fgmt' | 'gmt';

export interface RunRecord {
  readonly mode: RunMode;
  readonly n_steps: number;
  readonly alphas: readonly number[] | null;
  readonly points: readonly string[] | null;
  readonly options: {
    readonly normalize?: boolean;
    readonly use_prev?: boolean;
    readonly gm_iters?: number;
    readonly batch?: number;
    readonly bn_iters?: number;
    readonly bn_batch?: number;
    /** The weight of a step as a Python expression; null for equal steps. */
    readonly schedule?: string | null;
  };
  readonly val_accs: readonly number[];
  readonly best_iter: number;
  readonly best_acc: number;
  readonly steps: readonly StepRecord[];
}

export interface OtherBatches {
  readonly final_mean: number;
  readonly final_std: number;
}

export interface Manifest {
  readonly case: string;
  readonly architecture: unknown;
  readonly input_scale_offset: { readonly scale: number | readonly number[]; readonly offset: number | readonly number[] };
  readonly param_names: readonly string[];
  readonly param_shapes: Readonly<Record<string, readonly number[]>>;
  readonly spec_perm_to_axes: Readonly<Record<string, readonly (readonly [string, number])[]>>;
  readonly perm_names: readonly string[];
  readonly hyper: {
    readonly epochs: number;
    readonly lr: number;
    readonly momentum: number;
    readonly weight_decay: number;
    readonly batch: number;
    readonly gm_iters: number;
    readonly bn_stats_iters?: number;
    readonly bn_stats_batch?: number;
  };
  readonly data: { readonly x_u8: TensorReference; readonly y: TensorReference; readonly n_train: number; readonly n_val: number };
  readonly checkpoints: Readonly<Record<string, CheckpointRecord>>;
  readonly source_training_replay?: { readonly batches: readonly (readonly number[])[]; readonly losses: readonly number[] };
  readonly runs: Readonly<Record<string, RunRecord>>;
  readonly free_running_comparable: boolean | Readonly<Record<string, boolean>>;
  readonly fragility?: Readonly<Record<string, { readonly other_batches_12?: OtherBatches }>>;
}
