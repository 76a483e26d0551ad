// Holds src/ to docs/architecture.md: imports only downward and never in a circle, nothing that makes results differ between runtimes, no
// runtime API outside the doors; and the binaries of assembly/ to importing just the shared memory. Prints every breach.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, posix, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Room (folder of src/, or the file index.ts) → floor. */
const floors = {
  core: 1, report: 1, tensor: 2, model: 3, data: 3, bundle: 4, matching: 4, gradient: 4, transfer: 5,
  // Experiments put jobs together into comparisons; what is worth it is passed on by index.ts.
  experiments: 5.5, 'index.ts': 6, edge: 7, cli: 7,
};
/** Which rooms may import a package. */
const packages = {
  '#wasm': ['core'],
  '#tfjs': ['gradient'],
  fflate: ['data'],
  '@tensorflow/tfjs-core': ['gradient'],
  '@tensorflow/tfjs-backend-wasm': ['gradient'],
};
/** Files that may read a clock: what they measure is reported beside results and never in them. */
const clocks = ['src/core/clock.ts'];
/** Exact in every engine; everything else of Math is not. */
const exactMath = [
  'abs', 'ceil', 'clz32', 'floor', 'fround', 'imul', 'max', 'min', 'round', 'sign', 'sqrt', 'trunc', 'PI', 'SQRT2', 'SQRT1_2', 'E', 'LN2',
  'LN10', 'LOG2E', 'LOG10E',
];
const runtimeGlobals = ['process', 'Buffer', 'require', '__dirname', '__filename', 'Deno', 'Bun', 'window', 'document', 'localStorage'];

const breaches = [];
const sources = readdirSync(join(root, 'src'), { recursive: true })
  .map((name) => `src/${name.split(sep).join('/')}`)
  .filter((name) => name.endsWith('.ts'))
  .toSorted();

/** File → files of src/ that it imports, types included. */
const imports = new Map(sources.map((file) => [file, new Set()]));
for (const file of sources) checkFile(file);
checkCircles();
for (const name of ['core.wasm', 'relaxed.wasm']) checkBinary(name);

if (breaches.length > 0) {
  console.error(breaches.join('\n'));
  console.error(`${breaches.length} breaches of docs/architecture.md`);
  process.exit(1);
}
console.log(`${sources.length} files keep their floors`);

function checkFile(file) {
  const room = file.split('/')[1];
  const floor = floors[room];
  const isDoor = room === 'cli';
  const isNodeFile = isDoor || file.endsWith('.node.ts');
  const source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest, true);
  const breach = (node, text) => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    breaches.push(`${file}:${line + 1}: ${text}`);
  };
  if (floor === undefined) return breach(source, `the room ${room} has no floor in scripts/check-floors.mjs`);
  visit(source);

  function visit(node) {
    const specifier = specifierOf(node);
    if (specifier !== undefined) checkImport(node, specifier);
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) checkMember(node, node.expression.text, node.name.text);
    if (ts.isElementAccessExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Math') {
      breach(node, 'Math[…] hides which function is used');
    }
    if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.AsteriskAsteriskToken) checkPower(node);
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date' && !isDoor) {
      breach(node, 'new Date reads a clock');
    }
    if (ts.isIdentifier(node) && isReference(node)) {
      if (runtimeGlobals.includes(node.text) && !isNodeFile) breach(node, `${node.text} belongs to some runtimes only`);
      if (node.text === 'console' && !isDoor) breach(node, 'the library prints nothing');
    }
    ts.forEachChild(node, visit);
  }

  function checkImport(node, specifier) {
    if (specifier.startsWith('.')) {
      const target = posix.normalize(posix.join(posix.dirname(file), specifier));
      const targetRoom = target.split('/')[1];
      imports.get(file).add(target);
      if (!target.startsWith('src/')) breach(node, `imports ${specifier}, which is outside src/`);
      else if (targetRoom !== room && !(floors[targetRoom] < floor))
        breach(node, `${room} (floor ${floor}) imports ${targetRoom} (floor ${floors[targetRoom]})`);
      if (target.endsWith('.node.ts') && !isNodeFile) breach(node, `imports ${specifier}, which needs Node`);
    } else if (specifier.startsWith('node:')) {
      if (!isNodeFile) breach(node, `imports ${specifier} outside cli/ and *.node.ts`);
    } else {
      const name = Object.keys(packages).find((known) => specifier === known || specifier.startsWith(`${known}/`));
      if (name === undefined) breach(node, `imports the package ${specifier}, which no room may`);
      else if (!packages[name].includes(room)) breach(node, `${room} imports ${name}, which only ${packages[name].join(', ')} may`);
    }
  }

  function checkMember(node, object, member) {
    if (object === 'Math' && !exactMath.includes(member)) breach(node, `Math.${member} differs between engines`);
    if ((object === 'Date' || object === 'performance') && member === 'now' && !isDoor && !clocks.includes(file)) {
      breach(node, `${object}.now reads a clock outside the files that may`);
    }
  }

  // Engines fold 2 ** 20 exactly; a computed power goes through the same inexact pow as Math.pow.
  function checkPower(node) {
    const literal = (side) =>
      ts.isNumericLiteral(side) ||
      (ts.isPrefixUnaryExpression(side) && literal(side.operand)) ||
      (ts.isParenthesizedExpression(side) && literal(side.expression));
    if (!literal(node.left) || !literal(node.right)) breach(node, '** of computed numbers differs between engines');
  }
}

/** Files that import one another, however long the way round, are one file in several: none can be read or moved by itself. */
function checkCircles() {
  const done = new Set();
  const path = [];
  const visit = (file) => {
    const at = path.indexOf(file);
    if (at >= 0) return void breaches.push(`${[...path.slice(at), file].join(' → ')}: a circle of imports`);
    if (done.has(file)) return;
    path.push(file);
    for (const target of imports.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  };
  for (const file of sources) visit(file);
}

function specifierOf(node) {
  if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) return node.moduleSpecifier.text;
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return ts.isStringLiteral(node.arguments[0]) ? node.arguments[0].text : '(computed)';
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return node.argument.literal.text;
  return undefined;
}

/** Whether an identifier names a value in scope, rather than a property, a key or a declaration. */
function isReference(node) {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  if (ts.isTypeReferenceNode(parent) || ts.isQualifiedName(parent) || ts.isImportSpecifier(parent)) return false;
  return !('name' in parent && parent.name === node) && !('propertyName' in parent && parent.propertyName === node);
}

function checkBinary(name) {
  const bytes = readFileSync(join(root, 'assembly', name));
  // Node 20 cannot compile the relaxed one.
  const needed = !WebAssembly.validate(bytes)
    ? ['env.memory']
    : WebAssembly.Module.imports(new WebAssembly.Module(bytes)).map(({ module, name: item }) => `${module}.${item}`);
  if (needed.join() !== 'env.memory') breaches.push(`assembly/${name} imports ${needed.join(', ')}, not just env.memory`);
  const DATA_SECTION = 11;
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      size |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    if (id === DATA_SECTION) breaches.push(`assembly/${name} has a data segment, which would overwrite tfjs's heap`);
    at += size;
  }
}
