// ResNet-18 with torchvision's names and widths (64 … 512), for benchmarks of its shapes.
import { GraphBuilder, type Layer, type Residual } from '../src/model/builder.ts';
import type { ModelGraph } from '../src/model/graph.ts';

export function resnet18(input: readonly number[], classes: number): ModelGraph {
  const builder = new GraphBuilder(input);
  const layers: (Layer | Residual)[] = [
    { op: 'conv2d', name: 'conv1', out: 64, kernel: 7, stride: 2, padding: 3, bias: false },
    { op: 'batch_norm', name: 'bn1' },
    { op: 'relu' },
  ];
  [64, 128, 256, 512].forEach((out, stage) => {
    for (const block of [0, 1]) {
      const name = `layer${stage + 1}.${block}`;
      const stride = stage > 0 && block === 0 ? 2 : 1;
      const shortcut: Layer[] =
        stride === 1
          ? []
          : [
              { op: 'conv2d', name: `${name}.downsample.0`, out, kernel: 1, stride, bias: false },
              { op: 'batch_norm', name: `${name}.downsample.1` },
            ];
      layers.push(
        {
          op: 'residual',
          body: [
            { op: 'conv2d', name: `${name}.conv1`, out, kernel: 3, stride, padding: 1, bias: false },
            { op: 'batch_norm', name: `${name}.bn1` },
            { op: 'relu' },
            { op: 'conv2d', name: `${name}.conv2`, out, kernel: 3, padding: 1, bias: false },
            { op: 'batch_norm', name: `${name}.bn2` },
          ],
          shortcut,
        },
        { op: 'relu' },
      );
    }
  });
  layers.push({ op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'fc', out: classes });
  return builder.build(builder.chain(builder.input, layers));
}
