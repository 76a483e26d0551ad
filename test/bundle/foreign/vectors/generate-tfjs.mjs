/**
 * Makes the TensorFlow.js vectors beside it with the real libraries: a LayersModel built and saved by tfjs-layers, a
 * GraphModel loaded, run and saved by tfjs-converter. What they hold goes to expected.json.
 *
 * In a folder elsewhere: npm i @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-layers@4.22.0 @tensorflow/tfjs-converter@4.22.0
 * @tensorflow/tfjs-backend-cpu@4.22.0; cp generate-tfjs.mjs there; node generate-tfjs.mjs PATH/TO/vectors
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

// As CommonJS: their ES modules leave extensions out.
const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs-core');
const layers = require('@tensorflow/tfjs-layers');
const converter = require('@tensorflow/tfjs-converter');
require('@tensorflow/tfjs-backend-cpu');

const folder = process.argv[2] ?? '.';
const at = (name) => join(folder, name);
const expected = JSON.parse(readFileSync(at('expected.json'), 'utf8'));
/** All different, and exact in F16. */
const values = (shape, seed) => tf.tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i - seed) / 8), shape);

/** A save handler as browsers' and Node's are: model.json with the manifest, and the weights beside it. */
const saveAs = (name) =>
  tf.io.withSaveHandler(async (artifacts) => {
    const { modelTopology, weightSpecs, format, generatedBy, convertedBy } = artifacts;
    const data = tf.io.CompositeArrayBuffer.join(artifacts.weightData);
    const json = { modelTopology, format, generatedBy, convertedBy, weightsManifest: [{ paths: [`${name}.bin`], weights: weightSpecs }] };
    writeFileSync(at(`${name}.json`), `${JSON.stringify(json)}\n`);
    writeFileSync(at(`${name}.bin`), new Uint8Array(data));
    const decoded = tf.io.decodeWeights(data, weightSpecs);
    expected[`${name}.json`] = Object.fromEntries(
      Object.entries(decoded).map(([key, tensor]) => [
        key,
        {
          dtype: { float32: 'F32', int32: 'I32', bool: 'BOOL' }[tensor.dtype],
          shape: tensor.shape,
          values: [...tensor.dataSync()].map(Number),
        },
      ]),
    );
    return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
  });

const model = layers.sequential({
  layers: [
    layers.layers.conv2d({ inputShape: [4, 4, 1], filters: 2, kernelSize: 3, name: 'conv2d' }),
    layers.layers.batchNormalization({ name: 'batch_normalization' }),
    layers.layers.flatten(),
    layers.layers.dense({ units: 3, name: 'dense' }),
  ],
});
model.setWeights(model.getWeights().map((weight, i) => values(weight.shape, i)));
await model.save(saveAs('tfjs-layers'));

// y = relu(x · w + b), with a shape as an int32 constant: what tensorflowjs_converter makes of a dense layer.
const weights = { 'net/w': values([4, 3], 1), 'net/b': values([3], 2), 'net/shape': tf.tensor([-1, 4], [2], 'int32') };
const { data, specs } = await tf.io.encodeWeights(weights);
const float = { T: { type: 'DT_FLOAT' } };
const constant = (name, type) => ({ name, op: 'Const', input: [], attr: { dtype: { type } } });
const modelTopology = {
  node: [
    {
      name: 'x',
      op: 'Placeholder',
      input: [],
      attr: { dtype: { type: 'DT_FLOAT' }, shape: { shape: { dim: [{ size: '-1' }, { size: '4' }] } } },
    },
    constant('net/w', 'DT_FLOAT'),
    constant('net/b', 'DT_FLOAT'),
    constant('net/shape', 'DT_INT32'),
    { name: 'net/flat', op: 'Reshape', input: ['x', 'net/shape'], attr: float },
    {
      name: 'net/product',
      op: 'MatMul',
      input: ['net/flat', 'net/w'],
      attr: { ...float, transpose_a: { b: false }, transpose_b: { b: false } },
    },
    { name: 'net/sum', op: 'BiasAdd', input: ['net/product', 'net/b'], attr: float },
    { name: 'y', op: 'Relu', input: ['net/sum'], attr: float },
  ],
  library: {},
  versions: { producer: 987 },
};
const graphModel = await converter.loadGraphModel(
  tf.io.fromMemory({ modelTopology, weightSpecs: specs, weightData: data, format: 'graph-model', generatedBy: 'generate-tfjs.mjs' }),
);
const y = graphModel.predict(tf.ones([1, 4]));
if (y.shape[1] !== 3) throw new Error(`the graph gives ${y.shape}`);
await graphModel.save(saveAs('tfjs-graph'));

writeFileSync(
  at('expected.json'),
  `${JSON.stringify(Object.fromEntries(Object.entries(expected).toSorted(([a], [b]) => (a < b ? -1 : 1))))}\n`,
);
