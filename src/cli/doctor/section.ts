import type { ExitCode } from '../exit-codes.ts';

/** `note`: a fact, neither good nor bad. `warning`: works, and may bite later. `fault`: does not work. */
export type Level = 'ok' | 'note' | 'warning' | 'fault';

export interface Finding {
  /** Stays the same over versions, for scripts. */
  readonly check: string;
  readonly level: Level;
  readonly message: string;
  /** Of a fault. */
  readonly exitCode?: ExitCode;
  readonly details?: Readonly<Record<string, unknown>>;
}

type Details = Finding['details'];

/** What was looked at in one place, in the order of looking. */
export class Section {
  readonly name: string;
  readonly findings: Finding[] = [];

  constructor(name: string) {
    this.name = name;
  }

  ok(check: string, message: string, details?: Details): void {
    this.#add('ok', check, message, details);
  }

  note(check: string, message: string, details?: Details): void {
    this.#add('note', check, message, details);
  }

  warn(check: string, message: string, details?: Details): void {
    this.#add('warning', check, message, details);
  }

  fault(check: string, exitCode: ExitCode, message: string, details?: Details): void {
    this.findings.push({ check, level: 'fault', message, exitCode, ...(details && { details }) });
  }

  #add(level: Level, check: string, message: string, details: Details): void {
    this.findings.push({ check, level, message, ...(details && { details }) });
  }
}

/** What must be put right first comes first: running it again helps against the last one only. */
const gravest: readonly ExitCode[] = [2, 6, 1, 5];

export function exitCodeOf(sections: readonly Section[]): ExitCode {
  const codes = new Set(sections.flatMap(({ findings }) => findings.map(({ exitCode }) => exitCode)));
  return gravest.find((code) => codes.has(code)) ?? 0;
}
