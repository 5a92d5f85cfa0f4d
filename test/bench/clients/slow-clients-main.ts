/**
 * Slow clients in a process of their own, so that what they cost is not the fast one's:
 *   slow-clients-main.ts BASE_URL COUNT BYTES_PER_SECOND
 * Says each second how many were cut off; ends with whoever started it.
 */
import { startSlowClients } from './slow-clients.ts';

const [baseUrl = '', count = '', bytesPerSecond = ''] = process.argv.slice(2);
const sizeBytes = 1024 * 1024;
const clients = startSlowClients(
  Array.from({ length: Number(count) }, (_, index) => `${baseUrl}-${index}`),
  {
    sizeBytes,
    bytesPerSecond: Number(bytesPerSecond),
    headers: { 'Content-Range': `bytes 0-${sizeBytes - 1}/${sizeBytes}` },
  },
);
setInterval(() => process.stdout.write(`lost ${clients.lost}\n`), 1_000);
process.stdout.write('started\n');
process.once('SIGTERM', () => process.exit(0));
