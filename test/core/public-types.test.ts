/** Every name in a signature of the library's exports is an export too: who cannot name a type writes it down once more. */
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { root } from '../cli/fixtures.ts';

const doors = ['src/index.ts', 'src/edge/index.ts'].map((file) => join(root, file));
const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (file) => ts.sys.readFile(file)) as { config: object };
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const program = ts.createProgram(doors, options);
const checker = program.getTypeChecker();

const resolved = (symbol: ts.Symbol): ts.Symbol =>
  ((symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol);

const exported = new Set(
  doors.flatMap((door) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(door) as ts.SourceFile);
    return checker.getExportsOfModule(module as ts.Symbol).map(resolved);
  }),
);

const isHidden = (node: ts.Node): boolean =>
  ts.isBlock(node) ||
  (ts.isClassElement(node) && node.name !== undefined && ts.isPrivateIdentifier(node.name)) ||
  ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'internal');

/** Names of our own types that stand in a declaration, without bodies, private members and initial values. */
function namesIn(node: ts.Node, found: Set<ts.Symbol>): Set<ts.Symbol> {
  if (isHidden(node)) return found;
  const name = ts.isTypeReferenceNode(node) ? node.typeName : ts.isExpressionWithTypeArguments(node) ? node.expression : undefined;
  const symbol = name === undefined ? undefined : checker.getSymbolAtLocation(name);
  if (symbol !== undefined) found.add(resolved(symbol));
  ts.forEachChild(node, (child) => {
    if (ts.isExpression(child) && !ts.isExpressionWithTypeArguments(child)) return;
    namesIn(child, found);
  });
  return found;
}

const isOurs = (symbol: ts.Symbol): boolean =>
  symbol.declarations?.some((declaration) => declaration.getSourceFile().fileName.startsWith(join(root, 'src'))) === true &&
  (symbol.flags & ts.SymbolFlags.TypeParameter) === 0;

/**
 * Parts of handles that the library makes and works on itself, and abbreviations within one public type: nobody outside is given
 * one alone.
 */
const workings = new Set([
  'CheckpointLayout', 'Codec', 'CoreKernels', 'Declared', 'FactoredPair', 'HeapBackend', 'HeapParameters', 'HistorySnapshot',
  'KnownSources', 'MatchingLayout', 'Member', 'Method', 'OptimiserState', 'Padding', 'Pair', 'PairedTensor', 'PartRun', 'Plain', 'Pool',
  'Relaxed',
  'Required', 'Segment', 'SimilarityCache', 'StoredPair', 'Stream', 'TfjsBinary', 'Trainable', 'ZipReader',
]);

test('every type in a public signature can be named', () => {
  const missing = new Set<string>();
  for (const symbol of exported) {
    for (const declaration of symbol.declarations ?? []) {
      for (const used of namesIn(declaration, new Set()))
        if (isOurs(used) && !exported.has(used) && !workings.has(used.name)) missing.add(`${used.name} (${symbol.name})`);
    }
  }
  expect(exported.size).toBeGreaterThan(150);
  expect([...missing].toSorted()).toEqual([]);
});
