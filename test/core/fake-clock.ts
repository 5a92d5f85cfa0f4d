import type { Clock } from '../../src/core/ports.ts';

/** Time that passes only when somebody sleeps or the test says so. */
export class FakeClock implements Clock {
  #nowMs = Date.parse('2026-11-23T12:00:00Z');
  readonly #timers = new Set<{ dueMs: number; readonly everyMs: number; readonly work: () => void }>();
  /** How long was slept, each time. */
  readonly slept: number[] = [];

  now(): Date {
    return new Date(this.#nowMs);
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.slept.push(ms);
    this.advance(ms);
  }

  every(everyMs: number, work: () => void): () => void {
    const timer = { dueMs: this.#nowMs + everyMs, everyMs, work };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  advance(ms: number): void {
    const end = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ dueMs }) => dueMs <= end).sort((a, b) => a.dueMs - b.dueMs)[0];
      if (due === undefined) break;
      this.#nowMs = due.dueMs;
      due.dueMs += due.everyMs;
      due.work();
    }
    this.#nowMs = end;
  }

  get runningTimers(): number {
    return this.#timers.size;
  }
}
