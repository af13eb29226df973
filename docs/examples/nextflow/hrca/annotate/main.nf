process HRCA_ANNOTATE {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"

    input:
    tuple val(meta), path(cells)
    tuple val(meta2), path(model)

    output:
    tuple val(meta), path("${prefix}.h5ad"), emit: h5ad
    tuple val(meta), path("${prefix}.csv") , emit: groups
    tuple val(meta), path("${prefix}.json"), emit: summary
    path "versions.yml"                    , emit: versions, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}_hrca"
    """
    export NUMBA_CACHE_DIR="\$PWD/numba" MPLCONFIGDIR="\$PWD/matplotlib"

    hrca annotate ${cells} \\
        --model ${model} \\
        --out ${prefix}.h5ad \\
        --csv ${prefix}.csv \\
        --threads ${task.cpus} \\
        --json \\
        ${args} > ${prefix}.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        hrca: \$(hrca --version | sed 's/hrca //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}_hrca"
    """
    touch ${prefix}.h5ad ${prefix}.csv ${prefix}.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        hrca: \$(hrca --version | sed 's/hrca //')
    END_VERSIONS
    """
}
