import type { UploadEvent, UploadProgress, UploadResult } from '../../sdk/node/index.ts';
import type { PushFlags } from '../push.ts';
import { JsonDisplay } from './json-display.ts';
import { TextDisplay } from './text-display.ts';

/** What the user hears of one item after the other. */
export interface Display {
  begin(name: string): void;
  event(event: UploadEvent): void;
  progress(progress: UploadProgress): void;
  /** Asked for, so told also where all else is quiet. */
  state(progress: UploadProgress): void;
  pushed(result: UploadResult): void;
  note(text: string): void;
  failed(error: unknown, exitCode: number): void;
  summary(totals: Totals): void;
  /** Leaves the terminal as it was found. */
  close(): void;
}

export interface Totals {
  readonly files: number;
  readonly failed: number;
  readonly sizeBytes: number;
  readonly sentBytes: number;
  readonly tookMs: number;
}

export function createDisplay(flags: PushFlags): Display {
  return flags.json ? new JsonDisplay() : new TextDisplay({ isQuiet: flags.quiet === true });
}
