import type { UploadRecords } from '../../../src/core/upload-records.ts';

/** Notes the name of each call to the records that a request makes; the reaper's are left out. */
export function countRecords(counted: string[]): (records: UploadRecords) => UploadRecords {
  return (records) =>
    new Proxy(records, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (!/^(claim|onNews)/.test(String(name))) counted.push(String(name));
          return value.apply(target, args) as unknown;
        };
      },
    });
}
