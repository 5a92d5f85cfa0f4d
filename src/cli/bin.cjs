#!/usr/bin/env node
// Plain and old-fashioned, so that a Node that is too old to run the program can read at least this.

// Node would open its debugger to whoever asks by this signal before the program listens to it.
if (process.platform !== 'win32') process.on('SIGUSR1', function ignore() {});

var manifest = require('../../package.json');

var wanted = /(\d+)\.(\d+)/.exec(manifest.engines.node);
var given = process.versions.node.split('.');
if (+given[0] > +wanted[1] || (+given[0] === +wanted[1] && +given[1] >= +wanted[2])) {
  require('node:module').enableCompileCache();
  require('./program.cjs');
} else {
  console.error('partway needs Node %s or newer; this is %s (%s)', wanted[0], process.version, process.execPath);
  process.exitCode = 2;
}
