import type { Argument, Command, Option } from 'commander';

/** What may stand where a value is wanted. Neither choices nor files: nobody can know. */
export interface Value {
  readonly choices: readonly string[];
  readonly isFile: boolean;
  readonly isVariadic: boolean;
}

export interface OptionWords {
  /** Short and long. */
  readonly texts: readonly string[];
  /** `undefined`: a switch. */
  readonly value: Value | undefined;
}

/** What can be typed after a command. */
export interface CommandWords {
  /** The words from the program to the command, such as `keys create`; empty for the program itself. */
  readonly path: string;
  readonly commands: readonly string[];
  readonly options: readonly OptionWords[];
  readonly arguments: readonly Value[];
}

/** Of the program and all that is below it, as they are declared. */
export function commandWords(command: Command, path = ''): readonly CommandWords[] {
  const help = command.createHelp();
  const below = help
    .visibleCommands(command)
    .flatMap((each) => [each.name(), ...each.aliases()].map((name) => ({ name, each })));
  const own: CommandWords = {
    path,
    commands: below.map(({ name }) => name),
    options: help.visibleOptions(command).map(optionWords),
    arguments: command.registeredArguments.map((argument) => valueIn(argument, argument.name())),
  };
  return [own, ...below.flatMap(({ name, each }) => commandWords(each, `${path} ${name}`.trim()))];
}

function optionWords(option: Option): OptionWords {
  const takesValue = option.required || option.optional;
  return {
    texts: [option.short, option.long].filter((text) => text !== undefined && text !== null),
    value: takesValue ? valueIn(option, option.flags) : undefined,
  };
}

function valueIn(declared: Option | Argument, name: string): Value {
  return {
    choices: declared.argChoices ?? [],
    isFile: /(file|path|folder|directory|source)(\b|s\b)/i.test(name.replace(/^.*--\S+/, '')),
    isVariadic: declared.variadic,
  };
}
