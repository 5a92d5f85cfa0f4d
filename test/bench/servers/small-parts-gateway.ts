/** The gateway before a store without a smallest part: ten thousand parts of a few bytes are an upload like any other. */
import { readSettings } from '../../../src/config.ts';
import { startGateway } from '../../../src/gateway.ts';
import { sayReady } from './say-ready.ts';

const gateway = await startGateway(readSettings(process.env), {
  wrapStore: (store) => ({ ...store, limits: { ...store.limits, minPartSizeBytes: 1 } }),
});
process.once('SIGTERM', () => void gateway.stop().then(() => process.exit(0)));
sayReady(gateway.url);
