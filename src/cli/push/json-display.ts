import type { UploadEvent, UploadProgress, UploadResult } from '../../sdk/node/index.ts';
import { isForeseen } from '../failure.ts';
import type { Display, Totals } from './display.ts';

const statusEveryMs = 1000;

/** One JSON object a line on standard output, for programs. */
export class JsonDisplay implements Display {
  #file = '';
  #nextAtMs = 0;

  begin(name: string): void {
    this.#file = name;
    this.#nextAtMs = performance.now() + statusEveryMs;
  }

  event(event: UploadEvent): void {
    if (event.type === 'start') {
      const { id, key, size } = event.upload;
      this.#put('start', { uploadId: id, key, size, resumedBytes: event.resumedBytes });
    } else if (event.type === 'retry') {
      const { error, delayMs, partNumber } = event;
      this.#put('retry', { reason: error.message, code: error.code, afterSeconds: delayMs / 1000, partNumber });
    } else if (event.type === 'mode') {
      this.#put('mode', { mode: event.mode, reason: event.reason });
    } else {
      this.note(event.reason);
    }
  }

  progress(progress: UploadProgress): void {
    if (performance.now() >= this.#nextAtMs) this.state(progress);
  }

  state(progress: UploadProgress): void {
    this.#nextAtMs = performance.now() + statusEveryMs;
    const { totalBytes, storedBytes, reachedBytes, sentBytes, bytesPerSecond, partCount, storedParts } = progress;
    this.#put('status', {
      size: totalBytes,
      storedBytes,
      inFlightBytes: reachedBytes - storedBytes,
      sentBytes,
      bytesPerSecond: bytesPerSecond === undefined ? undefined : Math.round(bytesPerSecond),
      parts: partCount,
      storedParts,
      retries: progress.retries,
    });
  }

  pushed({ upload, mode, digest, resumedBytes, sentBytes, sizeBytes }: UploadResult): void {
    const { id, key, etag } = upload;
    this.#put('pushed', { uploadId: id, key, size: sizeBytes, etag, digest, mode, resumedBytes, sentBytes });
  }

  note(text: string): void {
    this.#put('note', { text });
  }

  failed(error: unknown, exitCode: number): void {
    const { code = 'unexpected', uploadId, isResumable = false } = error as Partial<Record<string, unknown>>;
    this.#put('error', {
      code,
      message: error instanceof Error ? error.message : String(error),
      exitCode,
      uploadId,
      resumable: isResumable === true && uploadId !== undefined,
    });
    if (!isForeseen(error)) console.error(error);
  }

  summary({ files, failed, sizeBytes, sentBytes, tookMs }: Totals): void {
    this.#put('summary', { files, failed, size: sizeBytes, sentBytes, seconds: Math.round(tookMs) / 1000 });
  }

  close(): void {}

  #put(messageType: string, values: Readonly<Record<string, unknown>>): void {
    console.log(JSON.stringify({ message_type: messageType, file: this.#file, ...values }));
  }
}
