// Starts one of the programs on a Node that can run it. Plain old JavaScript: the Node that reads this may be any since 12, and must
// be able to say clearly that it is too old. package.json beside this file keeps the extensionless launchers CommonJS.
'use strict';

var fs = require('fs');
var path = require('path');

var WANTED = 24;

/** @param {'client' | 'server' | 'verify'} program */
module.exports = function launch(program) {
  var name = 'chat-' + program;
  var root = path.join(__dirname, '..');
  var entry = firstFile([path.join(root, 'dist', program, 'main.js'), path.join(root, program, 'main.ts')]);
  if (entry === null) return refuse(name + ': the program is missing beside ' + __dirname);

  var cache = cacheOf(root);
  if (parseInt(process.versions.node, 10) >= WANTED) {
    if (cache !== null) require('module').enableCompileCache(cache);
    process.argv[1] = entry; // so that the program knows itself for the one that was started
    import(require('url').pathToFileURL(entry).href).catch(function (error) {
      refuse(name + ': cannot start: ' + (error && error.message));
    });
    return;
  }
  var modules = path.join(root, 'node_modules');
  var node = firstFile([
    path.join(modules, 'node', 'bin', 'node'),
    path.join(modules, 'node', 'bin', 'node.exe'),
    path.join(modules, '.bin', 'node'),
  ]);
  if (node === null)
    return refuse(name + ': needs Node.js ' + WANTED + ' or later, and this is ' + process.versions.node);
  run(name, node, [entry].concat(process.argv.slice(2)), cache);
};

function run(name, node, argv, cache) {
  var env = cache === null ? process.env : Object.assign({}, process.env, { NODE_COMPILE_CACHE: cache });
  var child = require('child_process').spawn(node, argv, { stdio: 'inherit', env: env });
  var handlers = {};
  ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'].forEach(function (signal) {
    handlers[signal] = function () {
      // Keys on a terminal reach the child by themselves; a second SIGINT would mean "at once".
      if ((signal === 'SIGINT' || signal === 'SIGQUIT') && process.stdin.isTTY) return;
      child.kill(signal);
    };
    try {
      process.on(signal, handlers[signal]);
    } catch (_) {
      // not a signal of this system
    }
  });
  child.on('error', function (error) {
    refuse(name + ': cannot start ' + node + ': ' + error.message);
  });
  child.on('exit', function (status, signal) {
    Object.keys(handlers).forEach(function (each) {
      process.removeListener(each, handlers[each]);
    });
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = status;
  });
}

/**
 * Where the compiled code is kept, which halves the time of a start: beside the packages, for whoever can change these can change all the
 * same. Null: this user does not own them, or has said where himself.
 */
function cacheOf(root) {
  var modules = path.join(root, 'node_modules');
  if (process.env.NODE_COMPILE_CACHE !== undefined || !process.getuid) return null;
  try {
    return fs.statSync(modules).uid === process.getuid() ? path.join(modules, '.cache', 'compile') : null;
  } catch (_) {
    return null;
  }
}

function firstFile(paths) {
  for (var i = 0; i < paths.length; i++) if (fs.existsSync(paths[i])) return paths[i];
  return null;
}

function refuse(sentence) {
  process.stderr.write(sentence + '\n');
  process.exitCode = 2;
}
