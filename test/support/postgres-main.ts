import { startEmbeddedPostgres } from '../../src/db/embedded-postgres.ts';

const [dataDir = ''] = process.argv.slice(2);
const postgres = await startEmbeddedPostgres({ dataDir });
process.once('SIGTERM', () => void postgres.stop().then(() => process.exit(0)));
console.log(`listening on ${postgres.url}`);
