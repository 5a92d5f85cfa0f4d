import type { Events, UploadEvent } from '../core/ports.ts';
import type { Logger } from './log.ts';

/** Tells the log what the core does. */
export function logEvents(log: Logger): Events {
  return { emit: (event) => write(log, event) };
}

function write(log: Logger, event: UploadEvent): void {
  switch (event.type) {
    case 'upload_created':
    case 'upload_completed':
    case 'upload_aborted': {
      const { id, tenant, bucket, key, sizeBytes, reason } = event.upload;
      log.info({ uploadId: id, tenant, bucket, key, sizeBytes, reason }, event.type);
      return;
    }
    case 'part_stored':
      log.debug({ uploadId: event.uploadId, partNumber: event.partNumber, sizeBytes: event.sizeBytes }, event.type);
      return;
    case 'fragment_stored':
      log.debug({ uploadId: event.uploadId, offset: event.offset, sizeBytes: event.sizeBytes }, event.type);
      return;
    case 'part_differs':
      log.warn({ uploadId: event.uploadId, partNumber: event.partNumber }, event.type);
      return;
    case 'store_failed':
      log.warn({ uploadId: event.uploadId, call: event.call, kind: event.error.kind, err: event.error }, event.type);
      return;
  }
}
