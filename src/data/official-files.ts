/**
 * The official files of the public image sets: where they are and what they must hash to. Whoever downloads them checks
 * `sha256` before use, so a mirror need not be trusted, nor plain HTTP.
 */

export interface OfficialFile {
  readonly dataset: 'mnist' | 'fashion-mnist' | 'cifar10' | 'cifar100';
  /** Its name in a data directory. */
  readonly file: string;
  /** Size, where known. */
  readonly bytes?: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Places to try in turn. */
  readonly urls: readonly string[];
  /** For an archive: the members that are the data, to be stored under the last part of their names. */
  readonly members?: readonly string[];
}

const mnistMirrors = ['https://storage.googleapis.com/cvdf-datasets/mnist/', 'https://ossci-datasets.s3.amazonaws.com/mnist/'];
const fashionMirrors = ['http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/'];

function idx(dataset: 'mnist' | 'fashion-mnist', file: string, bytes: number, sha256: string): OfficialFile {
  const mirrors = dataset === 'mnist' ? mnistMirrors : fashionMirrors;
  return { dataset, file, bytes, sha256, urls: mirrors.map((mirror) => mirror + file) };
}

/** Whole training parts by the `dataSha256` that records have of them: which set a bundle was trained on, and how many images it has. */
export const officialTrainings: readonly {
  readonly dataset: OfficialFile['dataset'];
  readonly sha256: string;
  readonly train: number;
  readonly test: number;
}[] = [
  { dataset: 'mnist', sha256: 'edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b', train: 60_000, test: 10_000 },
  { dataset: 'fashion-mnist', sha256: '16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157', train: 60_000, test: 10_000 },
];

export const officialFiles: readonly OfficialFile[] = [
  idx('mnist', 'train-images-idx3-ubyte.gz', 9_912_422, '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609'),
  idx('mnist', 'train-labels-idx1-ubyte.gz', 28_881, '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c'),
  idx('mnist', 't10k-images-idx3-ubyte.gz', 1_648_877, '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6'),
  idx('mnist', 't10k-labels-idx1-ubyte.gz', 4542, 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6'),
  idx('fashion-mnist', 'train-images-idx3-ubyte.gz', 26_421_880, '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84'),
  idx('fashion-mnist', 'train-labels-idx1-ubyte.gz', 29_515, 'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845'),
  idx('fashion-mnist', 't10k-images-idx3-ubyte.gz', 4_422_102, '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073'),
  idx('fashion-mnist', 't10k-labels-idx1-ubyte.gz', 5148, '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5'),
  {
    dataset: 'cifar10',
    file: 'cifar-10-binary.tar.gz',
    bytes: 170_052_171,
    sha256: 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
    urls: ['https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'],
    members: [1, 2, 3, 4, 5].map((batch) => `cifar-10-batches-bin/data_batch_${batch}.bin`).concat('cifar-10-batches-bin/test_batch.bin'),
  },
  {
    dataset: 'cifar100',
    file: 'cifar-100-binary.tar.gz',
    sha256: '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
    urls: ['https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz'],
    members: ['cifar-100-binary/train.bin', 'cifar-100-binary/test.bin'],
  },
];
