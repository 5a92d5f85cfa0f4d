/** Builds and unpacks what the tests' servers need, ahead of the tests: the first time it takes minutes. */
import { provideMinio } from './minio.ts';
import { providePython } from './python.ts';
import { installRgw } from './rgw.ts';

await Promise.all([provideMinio(), installRgw(), providePython()]);
