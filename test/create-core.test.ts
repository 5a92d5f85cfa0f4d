import { expect, it } from 'vitest';
import { readSettings } from '../src/config.ts';
import type { ObjectStore } from '../src/core/object-store.ts';
import type { UploadRecords } from '../src/core/upload-records.ts';
import { createCore } from '../src/create-core.ts';

const { clock } = createCore(readSettings({}), {
  records: {} as UploadRecords,
  store: {} as ObjectStore,
  events: { emit: () => undefined },
  newLeaseId: () => 'lease',
  halted: new AbortController().signal,
});

it.each(['before', 'after'])('who sleeps is woken with the reason, where it comes %s it lay down', async (when) => {
  const stop = new AbortController();
  const reason = new Error('stopping');
  if (when === 'before') stop.abort(reason);
  const slept = clock.sleep(60_000, stop.signal);
  stop.abort(reason);
  await expect(slept).rejects.toBe(reason);
});

it('sleeps without a signal, too', async () => {
  await expect(clock.sleep(1)).resolves.toBeUndefined();
});
