import type { Context } from 'hono';
import type { HttpEnv } from '../http/env.ts';
import { checksumAlgorithms } from './checksum.ts';
import type { TusDeps } from './front.ts';
import { tusVersion } from './protocol-version.ts';

const extensions = [
  'creation',
  'creation-with-upload',
  'creation-defer-length',
  'expiration',
  'checksum',
  'checksum-trailer',
  'termination',
  'concatenation',
  'concatenation-unfinished',
];

/** "An OPTIONS request MAY be used to gather information about the Server's current configuration." */
export function onOptions(c: Context<HttpEnv>, { core }: TusDeps): Response {
  return c.body(null, 204, {
    'Tus-Resumable': tusVersion,
    'Tus-Version': tusVersion,
    'Tus-Extension': extensions.join(','),
    'Tus-Max-Size': String(core.settings.maxSizeBytes),
    'Tus-Checksum-Algorithm': checksumAlgorithms,
  });
}
