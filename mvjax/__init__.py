"""mvjax: multi-view and multimodal representation learning in JAX and Flax.

The plan of the package. A room is a folder; behind `<-` stands what it may import of
mvjax, which `tests/test_layout.py` enforces, as it does that every file named here exists.

    cli.py             parses the command line, calls a command    <- core data commands
    __main__.py        `python -m mvjax` and the script `mvjax`    <- core cli
    commands/          one command, one file          <- core cost data evaluators report tracking train
      train.py           one stage
      chain.py           several stages, each from the one before
      search.py          random search over settings
      evaluate.py        the evaluators of a trained or converted run
      embed.py           codes of a split or of the user's own views
      report.py          the HTML page of a run or of a chain
      convert.py         PyTorch weights to a workdir, and back
      show.py            what a run costs, and what can be set
      bench.py           time and memory of a step and of its input, or of a suite's
      board.py           the curves of a folder's runs in the browser
      data.py            fetches, builds, checks and converts data sets

    train/             trains any method              <- core convert data evaluators tracking
      loop.py            the one loop: step, log, evaluate, save
      step.py            the one jitted training step
      run.py             what a config describes: method, data, lengths
      program.py         mesh, optimisers, state and the compiled step
      scoring.py         predictions, features and evaluators of a run
      feed.py            how steps get their batches
      optim.py           optimisers and their groups, and what a plateau does to them
      schedules.py       learning rates over a run
      health.py          tells when codes collapse
      sharding.py        meshes, and where arrays lie on them
      replicated.py      the per-device form of the step
      seeds.py           several seeds at once
      checkpoint.py      saves and restores
      integrity.py       digests of checkpoints
      frozen.py          what no step changes, saved once
      warm_start.py      variables from another run or a published file
      torch_weights.py   whole runs to and from PyTorch
      constants.py       what frozen components give, computed once
      chain.py           stages that meet on disk
      search.py          draws of a search
      log.py             what a run prints and hands to its writers
    cost/              what a run costs               <- core data train
      compiled.py        memory and FLOPs of the compiled step
      tune.py            what is found before a run trains: a rate, a batch size
      lr_range.py        the range test of learning rates
      batch_size.py      the largest batch that fits into memory
      bench.py           measures
      input_bench.py     how quickly batches are read, by threads and workers
      bench_tables.py    tables of measurements, and what changed
      suite.py           runs stages, each in a process of its own
      suite_tables.py    tables of them, and what changed
      tpu_slice.py       a step on TPUs that are not there
      roofline.py        the least time of a step on a slice
      collectives.py     what chips send each other
      flops.py           counts what a traced program computes
      chips.py           data sheets
    tracking/          where metrics and files go     <- core
      writers.py         JSON lines, TensorBoard, the progress bar
      mlflow.py          MLflow
      wandb.py           Weights & Biases
      background.py      the thread that both use
      artifacts.py       which files the trackers get
      serve.py           the server of the curves
    report/            pages and pictures             <- core data evaluators tracking train
      run_page.py        gathers what the page of a run shows
      page.py            the HTML file
      of/                what an evaluator shows, one a file
      samples.py         samples of the split that is shown
      plots.py           pictures of a run
      retrieval.py       pictures of codes
      sentiment.py       pictures of predictions
      workings.py        pictures of attention and transport
      tables.py          tables of scores
      terminal.py        the same for the terminal

    methods/           one trained objective a file   <- core losses ops convert models
      mrdd_consistency.py  MRDD, stage 1
      mrdd_disentangle.py  MRDD, stage 2
      sdim.py              SDIM
      edim.py              EDIM
      rerd.py              RERD
      decur.py             DeCUR
      checks/              whether fields and data fit, a file for each system
    models/            networks, each with its table of PyTorch names    <- core ops convert
      layers/            blocks that they share
      decoders/          heads that give each pixel scores, one a file
    losses/            formulas without parameters    <- core
    ops/               fixed array transforms         <- core
    transforms/        what the device does to batches    <- core ops
      colouring.py       two coloured views of a grey image
      photometry.py      colours and blur of RGB views
      custom.py          MV-MR's augmented view beside the plain one
      modalities.py      DeCUR's changes of values, by modality
    convert/           PyTorch and Flax               <- core
      torch_map.py       tables of names and layouts, both ways
      torch_file.py      reads and writes .pth without PyTorch
      files.py           state dicts by the ending of a file
      hugging_face.py    folders of Hugging Face
      published.py       such weights as the variables of a method
      mlruns.py          weights in the folder of an MLflow run
    data/              records and batches            <- core
      batch.py           what a data set promises, and what a batch holds
      inputs.py          policies and specs of a config, from stored to seen
      policies.py        what the host does to each record
      augment/           one policy a file: random views on the host
      pictures.py        places of images, and published operations on them
      photometry.py      changes of colour and sharpness with given parameters
      styles.py          published augmentations: what is drawn, and what is done
      modality_steps.py  the same of DeCUR, by modality
      bands.py           bands of satellites by name, with their statistics
      subset.py          a part of the training split
      pipeline.py        from a config to batches, the same on any number of hosts
      read_ahead.py      threads and processes that read before it is asked
      epoch_order.py     which records each batch holds
      synthetic.py       made-up records of the same shapes
      check.py           validates a data set
      fetch.py           downloads
      build.py           data sets made ready for reading
      sources/           one data set a file
      file_source.py     records that are image files
      scene_crops.py     records that are crops of a few scenes
      geotiff.py         GeoTIFF files, and how two meet by where they lie
      numbered_records.py  LMDB and ArrayRecord files, without running anything
      channel_statistics.py  means and deviations of the channels, by data set
    evaluators/        one protocol a file            <- core losses ops data
      common/            features by name, metrics, probes, the suite of a config

    core/              what everything stands on      <-
      method.py          the contract of a method: init, loss, predict
      config.py          config files, overrides, config.json
      schema.py          the settings that every config has
      older.py           configs of older versions
      limits.py          what a setting may be
      lookup.py          finds code by the name in a config
      workdir.py         what the folder of a run holds
      state.py           what a step reads and replaces
      storage.py         folders on disks and in object stores
      dist.py            several processes as one
      rng.py             named random streams
      text.py            aligned columns and sizes
      yaml_values.py     values of other programs' YAML files
      precision.py       products that keep all digits of float32
      errors.py          the one exception for mistakes of use

The path of a run, from the command to the formula:

    cli.py -> commands/train.py -> train/loop.py -> train/step.py
      -> methods/NAME.py -> losses/NAME.py

A config names a method, a data set and evaluators; `core/lookup.py` imports the files of
those names, and no other room knows them. Stages meet on disk only: a run reads another
one's checkpoint through `train/warm_start.py`. Importing `mvjax` imports nothing else.
"""

__version__ = "0.1.0"
