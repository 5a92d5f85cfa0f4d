import type { Upload } from './upload.ts';

/** Finding uploads by what a client knows of them instead of an id. */
export interface NameRecords {
  /** The uploads to this name that are open or remembered, the newest first; only those that a front opened. */
  findByName(input: {
    readonly tenant: string;
    readonly bucket: string;
    readonly storeKey: string;
    readonly protocol: Upload['protocol'];
    readonly sessionHash: Buffer | undefined;
    readonly limit: number;
  }): Promise<readonly Upload[]>;
  /** For so long the upload does not complete by itself. Longer holds stay as they are. */
  holdCompletion(input: { readonly uploadId: string; readonly forMs: number }): Promise<void>;
  /** The upload of a session, by the hash of its secret. */
  findBySession(sessionHash: Buffer): Promise<Upload | undefined>;
}
