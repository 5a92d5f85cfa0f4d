import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreError } from '../../core/object-store.ts';
import { isMissing } from './errors.ts';

/**
 * Makes sure, before each call, that the root is the one of before: a disk that was unmounted looks like a store that
 * has dropped everything, and uploads would be closed as lost.
 */
export function guardRoot(root: string): () => Promise<void> {
  const marker = join(root, 'store');
  let wasThere = false;
  return async () => {
    if (await exists(marker)) {
      wasThere = true;
      return;
    }
    if (wasThere) throw new StoreError('unavailable', `${root} is gone; is its disk mounted?`);
    await mkdir(root, { recursive: true });
    await writeFile(marker, 'objects of partway\n');
  };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );
}
