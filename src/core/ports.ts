import type { StoreError } from './object-store.ts';
import type { Upload } from './upload.ts';

export interface Clock {
  now(): Date;
  /** Resolves after that time, or rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `work` again and again until the returned function is called. Does not keep the process alive. */
  every(ms: number, work: () => void): () => void;
}

/** What the core tells about its work, for logs and metrics. */
export interface Events {
  emit(event: UploadEvent): void;
}

export type UploadEvent =
  | { readonly type: 'upload_created'; readonly upload: Upload }
  | { readonly type: 'upload_completed'; readonly upload: Upload }
  | { readonly type: 'upload_aborted'; readonly upload: Upload }
  | { readonly type: 'part_stored'; readonly uploadId: string; readonly partNumber: number; readonly sizeBytes: number }
  | { readonly type: 'store_failed'; readonly call: string; readonly uploadId: string; readonly error: StoreError }
  | {
      readonly type: 'fragment_stored';
      readonly uploadId: string;
      readonly offset: number;
      readonly sizeBytes: number;
    }
  | { readonly type: 'part_differs'; readonly uploadId: string; readonly partNumber: number };
