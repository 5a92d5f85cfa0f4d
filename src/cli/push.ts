import { type Command, InvalidArgumentError, Option } from 'commander';
import { addServerOptions, parseSeconds, type ServerFlags } from './server-options.ts';
import { parseBytes } from './units.ts';

/** The command line of a push, as it was parsed. */
export interface PushFlags extends ServerFlags {
  readonly key?: string;
  readonly prefix?: string;
  readonly bucket?: string;
  readonly contentType?: string;
  readonly ifNoneMatch?: true;
  readonly fromCommand?: true;
  /** How many operands stand behind `--`. */
  readonly commandWords: number;
  readonly parallel: number;
  readonly partSize?: number;
  readonly window?: number;
  readonly limitRate?: number;
  readonly direct?: true;
  readonly relay?: true;
  readonly digest?: string;
  readonly restart?: true;
  readonly giveUpAfter: number;
  readonly json?: true;
  readonly quiet?: true;
}

const examples = `
Examples:
  partway push backup.tar.zst                              its key is backup.tar.zst
  partway push backup.tar.zst nightly/backup.tar.zst       under a key of its own
  partway push --prefix photos/ a.jpg b.jpg holidays/      several files, and folders with all that is in them
  tar -c /etc | partway push - etc.tar                     from a pipe: it can't be resumed by another run
  partway push db.dump --from-command -- pg_dump -Fc app   completed only if the command ends well

Cut off, by a break, Ctrl-C, kill -9 or a reboot, the same command goes on where it was. SIGUSR1 prints how far it is.`;

/** `partway push`: files, folders, pipes and the output of commands. */
export function addPush(program: Command): void {
  const push = program
    .command('push')
    .description('send files to a gateway; what an earlier push of them has sent is not sent again')
    .argument('<file...>', 'files, folders, or - for standard input; of two, the second may be the key')
    .option('--key <key>', "the object's key (default: the file's name)")
    .option('--prefix <prefix>', 'what the keys of several files begin with')
    .option('--bucket <bucket>', "the bucket (default: the gateway's)")
    .option('--content-type <type>', "the object's media type")
    .option('--if-none-match', 'complete only if nothing is at the key')
    .option('--from-command', 'push what a command writes: KEY --from-command -- COMMAND ARGUMENTS')
    .addOption(
      new Option('--parallel <n>', 'parts at once, at the most')
        .env('PARTWAY_PARALLEL')
        .argParser(parseCount)
        .default(4),
    )
    .option('--part-size <size>', 'of each part: 64M (default: 8M or more, by the size)', parseSize)
    .option('--window <size>', 'of a pipe: what is held until it is stored (default: 64M)', parseSize)
    .addOption(
      new Option('--limit-rate <rate>', 'bytes a second, all parts together: 500K, 10M')
        .env('PARTWAY_LIMIT_RATE')
        .argParser(parseSize),
    )
    .addOption(new Option('--direct', 'straight to the store, by signed URLs').conflicts('relay'))
    .option('--relay', 'through the gateway (default: direct where the first part gets there)')
    .option('--digest <digest>', 'what the whole must be: crc32=:BASE64:, as push --json tells it')
    .option('--restart', 'drop what an earlier push has sent')
    .addOption(
      new Option('--give-up-after <seconds>', 'end with 5 when nothing got through for so long')
        .env('PARTWAY_GIVE_UP_AFTER')
        .argParser(parseSeconds)
        .default(900),
    )
    .option('--json', 'one JSON object a line on standard output')
    .option('-q, --quiet', 'no progress; failures are told')
    .addHelpText('after', examples)
    .action(async (operands: string[], flags: PushFlags) => {
      const { runPush } = await import('./push/run-push.ts');
      const border = process.argv.indexOf('--');
      await runPush(operands, { ...flags, commandWords: border < 0 ? 0 : process.argv.length - border - 1 });
    });
  addServerOptions(push);
}

function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 64) return count;
  throw new InvalidArgumentError('Wanted: from 1 to 64.');
}

function parseSize(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes >= 1024) return bytes;
  throw new InvalidArgumentError('Wanted: bytes, 1K at least, such as 10M.');
}
