import type { UploadEvent, UploadProgress, UploadResult } from '../../sdk/node/index.ts';
import { isForeseen, wordsOf } from '../failure.ts';
import { counted, formatBytes, formatDuration, printable } from '../units.ts';
import type { Display, Totals } from './display.ts';
import { statusLine } from './status-line.ts';

const redrawEveryMs = 125;
const plainLineEveryMs = 30_000;
const eraseLine = '\r\u001b[K';

/** For people: results on standard output, everything else on standard error; one line that is redrawn where that is a terminal. */
export class TextDisplay implements Display {
  readonly #isQuiet: boolean;
  readonly #isRedrawn = process.stderr.isTTY === true && process.env.CI === undefined && process.env.TERM !== 'dumb';
  readonly #hasColor = this.#isRedrawn && !process.env.NO_COLOR;
  readonly #isUnicode = /utf-?8/i.test(process.env.LC_ALL || process.env.LC_CTYPE || process.env.LANG || '');
  #name = '';
  #trouble: string | undefined;
  /** As far as it was when the trouble was told. */
  #storedBytes: number | undefined;
  #isLineOpen = false;
  #nextAtMs = 0;

  constructor({ isQuiet }: { readonly isQuiet: boolean }) {
    this.#isQuiet = isQuiet;
  }

  begin(name: string): void {
    this.#name = printable(name);
    this.#trouble = undefined;
    this.#nextAtMs = performance.now() + (this.#isRedrawn ? 0 : plainLineEveryMs);
  }

  event(event: UploadEvent): void {
    if (event.type === 'retry') this.#retried(printable(event.error.message));
    else if (event.type === 'restart') this.note(`${event.reason} It begins anew.`);
    else if (event.type === 'start' && event.upload.state === 'completed')
      this.note('is pushed already (--restart pushes it again)');
    else if (event.type === 'start' && event.resumedBytes > 0) {
      this.note(`resumed at ${formatBytes(event.resumedBytes)}, not sent again`);
    } else if (event.type === 'mode' && event.reason !== undefined) {
      this.note(`through the gateway, as the store can't be reached from here (${event.reason})`);
    }
  }

  /** Each trouble is told once; the line that is redrawn may have no room for it, or not be there yet. */
  #retried(trouble: string): void {
    if (trouble !== this.#trouble) this.note(`${trouble}; trying again`);
    this.#trouble = trouble;
    this.#storedBytes = undefined;
  }

  progress(progress: UploadProgress): void {
    if (this.#trouble !== undefined) this.#storedBytes ??= progress.storedBytes;
    if (progress.storedBytes > (this.#storedBytes ?? progress.storedBytes)) this.#trouble = undefined;
    if (this.#isQuiet || performance.now() < this.#nextAtMs) return;
    this.#nextAtMs = performance.now() + (this.#isRedrawn ? redrawEveryMs : plainLineEveryMs);
    if (!this.#isRedrawn) {
      this.#write(`${this.#line(progress, false)}\n`);
      return;
    }
    this.#isLineOpen = true;
    this.#write(`\r${this.#line(progress, true)}\u001b[K`);
  }

  state(progress: UploadProgress): void {
    this.#eraseLine();
    this.#write(`${this.#line(progress, false)}\n`);
  }

  pushed({ upload, sizeBytes }: UploadResult): void {
    this.#eraseLine();
    console.log(`${printable(upload.key)}\t${sizeBytes}\t${upload.etag ?? ''}`);
  }

  note(text: string): void {
    if (this.#isQuiet) return;
    this.#eraseLine();
    this.#write(`${this.#name === '' ? '' : `${this.#name}: `}${printable(text)}\n`);
  }

  failed(error: unknown): void {
    this.#eraseLine();
    if (isForeseen(error)) this.#write(`${wordsOf(error)}\n`);
    else console.error(error);
  }

  summary({ files, failed, sizeBytes, sentBytes, tookMs }: Totals): void {
    if (this.#isQuiet) return;
    const pushed = counted(files - failed, 'file', 'files');
    const rest = failed === 0 ? '' : `, ${failed} failed`;
    this.#write(
      `${pushed} pushed${rest}: ${formatBytes(sizeBytes)}, ${formatBytes(sentBytes)} sent in ${formatDuration(tookMs)}\n`,
    );
  }

  close(): void {
    this.#eraseLine();
  }

  #line(progress: UploadProgress, isBar: boolean): string {
    return statusLine(this.#name, progress, {
      columns: isBar ? Math.max(1, (process.stderr.columns ?? 80) - 1) : Number.POSITIVE_INFINITY,
      bar: isBar,
      color: this.#hasColor,
      unicode: this.#isUnicode,
      trouble: this.#trouble,
    });
  }

  #eraseLine(): void {
    if (!this.#isLineOpen) return;
    this.#isLineOpen = false;
    this.#write(eraseLine);
  }

  #write(text: string): void {
    process.stderr.write(text);
  }
}
