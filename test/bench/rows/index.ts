import { besideRows } from './beside.ts';
import { callRows } from './calls.ts';
import { chunkRows } from './chunks.ts';
import { latePartRows } from './late-parts.ts';
import { memoryRows } from './memory.ts';
import { peerRows } from './peers.ts';
import { pushRows } from './push.ts';
import { relayRows } from './relay.ts';
import type { Row } from './row.ts';
import { startUpRows } from './start-up.ts';
import { tusRows } from './tus.ts';

export const rows: readonly Row[] = [
  ...relayRows,
  ...callRows,
  ...memoryRows,
  ...latePartRows,
  ...peerRows,
  ...tusRows,
  ...chunkRows,
  ...besideRows,
  ...pushRows,
  ...startUpRows,
];
