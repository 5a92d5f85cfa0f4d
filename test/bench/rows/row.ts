import type { Bench } from '../bench.ts';
import type { Figure } from '../figure.ts';

export interface Row {
  readonly name: string;
  readonly what: string;
  /** Gives up after so long, so that the bench always ends. */
  readonly deadlineMs: number;
  /** No figure: this machine lacks what the row needs. */
  measure(bench: Bench): Promise<readonly Figure[]>;
}

export const MiB = 1024 ** 2;
export const GiB = 1024 ** 3;
