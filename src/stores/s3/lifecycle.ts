import {
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule as RuleAsTold,
  type S3Client,
} from '@aws-sdk/client-s3';
import { StoreError } from '../../core/object-store.ts';
import { callStore } from './call.ts';

/** What a rule of the bucket that is switched on does to the keys below a prefix. */
export interface LifecycleRule {
  readonly id: string;
  readonly prefix: string;
  /** Only objects with certain tags: none of ours has any. */
  readonly onlyTagged: boolean;
  readonly abortsUploadsAfterDays: number | undefined;
  readonly expiresAfterDays: number | undefined;
  readonly expiresOn: Date | undefined;
}

/** `undefined`: the store knows no such rules, or does not tell them to these credentials. */
export async function readLifecycle(
  client: S3Client,
  bucket: string,
  signal: AbortSignal,
): Promise<readonly LifecycleRule[] | undefined> {
  const command = new GetBucketLifecycleConfigurationCommand({ Bucket: bucket });
  try {
    const { Rules = [] } = await callStore('GetBucketLifecycleConfiguration', signal, (options) =>
      client.send(command, options),
    );
    return Rules.filter(({ Status }) => Status === 'Enabled').map(toRule);
  } catch (error) {
    if (codeOf(error) === 'NoSuchLifecycleConfiguration') return [];
    if (error instanceof StoreError && (error.kind === 'refused' || codeOf(error) === 'NotImplemented'))
      return undefined;
    throw error;
  }
}

function toRule(rule: RuleAsTold, index: number): LifecycleRule {
  const { Filter: filter, Expiration: expiration } = rule;
  return {
    id: rule.ID ?? `number ${index + 1}`,
    prefix: filter?.And?.Prefix ?? filter?.Prefix ?? rule.Prefix ?? '',
    onlyTagged: filter?.Tag !== undefined || (filter?.And?.Tags ?? []).length > 0,
    abortsUploadsAfterDays: rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation,
    expiresAfterDays: expiration?.Days,
    expiresOn: expiration?.Date,
  };
}

function codeOf(error: unknown): string | undefined {
  return error instanceof StoreError && error.cause instanceof Error ? error.cause.name : undefined;
}
