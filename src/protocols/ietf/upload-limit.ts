import { serializeDictionary } from 'structured-headers';
import type { Deps } from '../../core/deps.ts';
import type { Upload } from '../../core/upload.ts';

/** "max-size: Specifies a maximum size for the representation data, counted in bytes." */
export function generalLimit({ settings }: Deps): string {
  return serializeDictionary({ 'max-size': settings.maxSizeBytes, 'min-size': 0 });
}

/**
 * "max-age: Specifies the remaining lifetime of the upload resource in seconds".
 * @param interopVersion up to 6 this was called `expires`
 */
export function limitOf({ settings, clock }: Deps, upload: Upload, interopVersion: number | undefined): string {
  const age = Math.max(0, Math.floor((upload.expiresAt.getTime() - clock.now().getTime()) / 1000));
  return serializeDictionary({
    'max-size': settings.maxSizeBytes,
    'min-size': 0,
    'max-age': age,
    ...(interopVersion === 6 ? { expires: age } : {}),
  });
}
