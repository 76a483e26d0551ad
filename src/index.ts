/**
 * trajport: port a fine-tune from one base network to the next. Everything the world may import stands here; the same
 * import works in Node, Deno, Bun, Workers and browsers.
 */

// Jobs
export { train } from './transfer/train.ts';
export type { Checkpoint, TrainOptions, TrainResult } from './transfer/train.ts';
export { transfer } from './transfer/transfer.ts';
export type { TransferCounts, TransferOptions, TransferResult, TransferStep } from './transfer/transfer.ts';
export { transferMethods } from './transfer/settings.ts';
export type { TransferChoices, TransferMethod, TransferSettings } from './transfer/settings.ts';
export { evaluate } from './transfer/evaluate.ts';
export type { EvaluateOptions, Evaluation } from './transfer/evaluate.ts';
export { verify } from './transfer/verify.ts';
export type { Verification, VerifyOptions } from './transfer/verify.ts';
export { stopRules } from './transfer/stop-rule.ts';
export type { StopRule } from './transfer/stop-rule.ts';
export type { ScheduleKind } from './transfer/schedule.ts';
export { trajectoryFromStates } from './transfer/trajectory.ts';
export type { Trajectory } from './transfer/trajectory.ts';
export { stateSha256 } from './transfer/record.ts';
export type { ResultRecord } from './transfer/record.ts';
export type { JobControl, ProgressEvent } from './transfer/progress.ts';
export type { Timings } from './transfer/timing.ts';
export { closeSharedCompute, openCompute } from './transfer/compute.ts';
export type { Compute } from './transfer/compute.ts';
