import type { Command } from 'commander';
import type { Shell } from '../completion.ts';
import { type CommandWords, commandWords, type Value } from './command-words.ts';

/** A script that completes the program's commands, options and values as they are declared. */
export function completionScript(program: Command, shell: Shell): string {
  const name = program.name();
  const how = `# source <(${name} completion ${shell})`;
  const script = bashFunctions(name, commandWords(program));
  if (shell === 'bash') return `${how}\n${script}`;
  return `${how}
autoload -U +X compinit && (( $+functions[compdef] )) || compinit
autoload -U +X bashcompinit && bashcompinit
${script}`;
}

/** Also what zsh runs, through its bashcompinit; so nothing that it does not know. */
function bashFunctions(name: string, commands: readonly CommandWords[]): string {
  return `_${name}_words() {
  local IFS=$' \\n'
  COMPREPLY+=($(compgen -W "$1" -- "$cur"))
}
_${name}_files() {
  local IFS=$'\\n'
  type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen -f -- "$cur"))
}
_${name}() {
  local cur='' at='' pending='' takes='' rest='' word='' i=0 last=-1
  local -a typed
  local -i position=0
  typed=() COMPREPLY=()
  # Bash makes three words of a:b.
  while [[ $i -le $COMP_CWORD ]]; do
    word=\${COMP_WORDS[i]} i=$((i + 1))
    if [[ $last -ge 0 && ( $word == :* || \${typed[last]} == *: ) ]]; then
      typed[last]=\${typed[last]}$word
    else
      last=$((last + 1))
      typed[last]=$word
    fi
  done
  cur=\${typed[last]} i=1
  [[ $cur == '=' ]] && cur=''
  while [[ $i -lt $last ]]; do
    word=\${typed[i]} takes=''
    case "$rest$at:$word" in
${walked(commands)}
      --*) position=position+1 ;;
      *:--) rest=-- ;;
      *:-*) ;;
      *) position=position+1 ;;
    esac
    if [[ -n $takes ]]; then
      i=$((i + 1))
      [[ \${typed[i]} == '=' ]] && i=$((i + 1))
      while [[ $takes == many && $i -lt $last && \${typed[i + 1]} != -* ]]; do i=$((i + 1)); done
      [[ $i -ge $last ]] && pending=$word
    fi
    i=$((i + 1))
  done
  if [[ -n $pending && $cur != -* ]]; then
    case "$at:$pending" in
${valuesOfOptions(name, commands)}
    esac
  elif [[ -z $rest && $cur == -* ]]; then
    case "$at" in
${commands.map((each) => `      ${quoted(each.path)}) ${offeredWords(name, optionTexts(each))} ;;`).join('\n')}
    esac
  else
    case "$at:$position" in
${valuesOfArguments(name, commands)}
    esac
  fi
  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
    word=\${cur%"\${cur##*:}"} i=0
    while [[ $i -lt \${#COMPREPLY[@]} ]]; do
      COMPREPLY[i]=\${COMPREPLY[i]#"$word"}
      i=$((i + 1))
    done
  fi
}
complete -F _${name} ${name}
`;
}

/** How each word moves on: into a command, or past an option's value. */
function walked(commands: readonly CommandWords[]): string {
  const lines = commands.flatMap(({ path, commands: below, options }) => [
    ...below.map((text) => `      ${quoted(`${path}:${text}`)}) at=${quoted(`${path} ${text}`.trim())} position=0 ;;`),
    ...options.flatMap(({ texts, value }) =>
      value === undefined ? [] : [`      ${patterns(path, texts)}) takes=${value.isVariadic ? 'many' : 'one'} ;;`],
    ),
  ]);
  return lines.join('\n');
}

function valuesOfOptions(name: string, commands: readonly CommandWords[]): string {
  const lines = commands.flatMap(({ path, options }) =>
    options.flatMap(({ texts, value }) => {
      const offered = value && offeredValue(name, value);
      return offered === undefined ? [] : [`      ${patterns(path, texts)}) ${offered} ;;`];
    }),
  );
  return lines.join('\n');
}

/** In the place of a command's first argument its own commands can stand, too. */
function valuesOfArguments(name: string, commands: readonly CommandWords[]): string {
  const lines = commands.flatMap(({ path, commands: below, arguments: values }) => {
    if (below.length > 0) {
      return [`      ${quoted(`${path}:0`)}) ${offeredWords(name, below)} ;;`];
    }
    return values.flatMap((value, index) => {
      const offered = offeredValue(name, value);
      if (offered === undefined) return [];
      return [`      ${quoted(`${path}:`)}${value.isVariadic ? '*' : index}) ${offered} ;;`];
    });
  });
  return lines.join('\n');
}

function offeredValue(name: string, { choices, isFile }: Value): string | undefined {
  if (choices.length > 0) return offeredWords(name, choices);
  return isFile ? `_${name}_files` : undefined;
}

function offeredWords(name: string, words: readonly string[]): string {
  return `_${name}_words ${quoted(words.join(' '))}`;
}

function optionTexts({ options }: CommandWords): string[] {
  return options.flatMap(({ texts }) => texts);
}

function patterns(path: string, texts: readonly string[]): string {
  return texts.map((text) => quoted(`${path}:${text}`)).join('|');
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
