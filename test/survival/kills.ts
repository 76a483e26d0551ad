// SIGKILL at every call that changes the disk, and at random moments; after each, nothing is torn and no committed step lost.
import type { Job, Workshop } from './jobs.ts';
import { jobs } from './jobs.ts';

export interface KillResult {
  readonly job: string;
  readonly kind: 'at every call' | 'at random moments';
  readonly kills: number;
  /** Kills after which a later run went on from a point. */
  readonly continued: number;
  /** Runs that came to their end, each with the bytes of an uninterrupted one. */
  readonly finished: number;
  readonly sha256: string;
}

/** Follows one job from kill to kill. */
class Chain {
  readonly #shop: Workshop;
  readonly #job: Job;
  #committed = 0;
  #stored = 0;
  kills = 0;
  continued = 0;
  finished = 0;

  constructor(shop: Workshop, job: Job) {
    this.#shop = shop;
    this.#job = job;
  }

  /** One process. @returns whether it came to its end. @throws Error for anything torn or lost. */
  async run(plan: { killAt?: number; half?: boolean }, killAfterMs?: number): Promise<boolean> {
    const ended = await this.#shop.run(this.#job.argv, plan, killAfterMs);
    const from = ended.events.find(({ event }) => event === 'continued');
    const stopped = (text: string): Error => new Error(`${this.#job.name}, ${JSON.stringify(plan)}, after ${this.kills} kills: ${text}`);
    if (ended.signal !== 'SIGKILL' && ended.code !== 0) throw stopped(`ended with ${ended.code}: ${ended.stderr}`);
    if (from !== undefined) {
      this.continued++;
      if (from['done'] !== this.#stored) throw stopped(`continued from ${String(from['done'])}, ${this.#stored} was stored`);
    } else if (this.#stored > 0 && (ended.code === 0 || ended.events.some(({ event }) => event === 'committed')))
      throw stopped(`started over, ${this.#stored} was stored`);
    for (const { event, done } of ended.events) if (event === 'committed') this.#committed = done as number;
    if (ended.code === 0) {
      this.#shop.requireFinished(this.#job);
      this.#shop.clear();
      [this.#committed, this.#stored] = [0, 0];
      this.finished++;
      return true;
    }
    this.kills++;
    this.#stored = await this.#shop.examine(this.#job);
    // Points are removed at the very end, after the outputs: then nothing needs them.
    if (this.#stored < this.#committed && !this.#written()) throw stopped(`${this.#committed} was committed, ${this.#stored} is stored`);
    return false;
  }

  #written(): boolean {
    try {
      this.#shop.requireOutputs(this.#job);
      this.#committed = 0;
      return true;
    } catch {
      return false;
    }
  }

  result(kind: KillResult['kind']): KillResult {
    const { kills, continued, finished } = this;
    return { job: this.#job.name, kind, kills, continued, finished, sha256: this.#shop.expectedSha256(this.#job) };
  }
}

/** Kills before every call and in the middle of every write, each followed by a run to the end; with `every`, at each so many-th. */
export async function killAtEveryCall(shop: Workshop, every = 1): Promise<KillResult[]> {
  const results: KillResult[] = [];
  for (const job of jobs) {
    const { events } = await shop.mustRun(job.argv);
    shop.clear();
    const calls = events.find(({ event }) => event === 'calls')?.['calls'] as readonly string[];
    const chain = new Chain(shop, job);
    const killAndFinish = async (killAt: number, half: boolean): Promise<void> => {
      // How many points there are depends on the machine's speed: a run may end before that call.
      if (!(await chain.run({ killAt, half }))) while (!(await chain.run({})));
    };
    for (let at = 0; at < calls.length; at += every) {
      await killAndFinish(at + 1, false);
      if (calls[at] === 'write') await killAndFinish(at + 1, true);
    }
    results.push(chain.result('at every call'));
  }
  return results;
}

/** Chains of runs killed at random moments, until there were `n` kills; each job has half of them. */
export async function killAtRandomMoments(
  shop: Workshop,
  n: number,
  next: () => number,
  onKill: (kills: number) => void,
): Promise<KillResult[]> {
  const results: KillResult[] = [];
  let before = 0;
  for (const [index, job] of jobs.entries()) {
    const share = Math.floor((n * (index + 1)) / jobs.length) - Math.floor((n * index) / jobs.length);
    const { elapsedMs } = await shop.mustRun(job.argv);
    shop.clear();
    const chain = new Chain(shop, job);
    while (chain.kills < share) {
      await chain.run({}, (next() / 2 ** 32) * elapsedMs);
      onKill(before + chain.kills);
    }
    while (!(await chain.run({})));
    before += chain.kills;
    results.push(chain.result('at random moments'));
  }
  return results;
}
