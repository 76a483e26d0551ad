/** Progress events and cancellation. */

export interface ProgressEvent {
  readonly stage: 'train' | 'transfer' | 'evaluate' | 'predict';
  /** Units of work done and in all: iterations of a training, steps of a transfer, images of an evaluation. */
  readonly done: number;
  readonly total: number;
  readonly detail: Readonly<Record<string, number | string>>;
}

/** How a caller follows a job, and ends it. */
export interface JobControl<Event extends ProgressEvent = ProgressEvent> {
  /** Called as the work goes on: `done` of `total`. */
  readonly onProgress?: ((event: Event) => void) | undefined;
  /** Aborting rejects the call with the signal's reason; nothing of the job stays allocated. */
  readonly signal?: AbortSignal | undefined;
}
