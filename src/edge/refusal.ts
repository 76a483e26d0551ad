/** Answers that are not the fault of a file or an option: the service is busy, the client too slow, the compute core not to be had. */

export class Refusal extends Error {
  readonly status: number;
  readonly facts: { readonly error: string; readonly field: string; readonly expected: string; readonly got: string };

  constructor(status: number, error: string, field: string, expected: string, got: string) {
    super(`${field}: expected ${expected}, got ${got}`);
    this.status = status;
    this.facts = { error, field, expected, got };
  }
}

/** 503: the same request may succeed a little later. */
export function busy(field: string, expected: string, got: string): Refusal {
  return new Refusal(503, 'BusyError', field, expected, got);
}
