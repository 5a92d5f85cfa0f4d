import { relayRows } from './relay.ts';
import type { Row } from './row.ts';

export const rows: readonly Row[] = [...relayRows];
