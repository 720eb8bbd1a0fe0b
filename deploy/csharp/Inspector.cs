// A picture -> its verdict, with a DefectFlow model and ONNX Runtime. NOT COMPILED OR RUN by this repository's tests.
//
//     dotnet run -- models/bracket/model.onnx picture.ppm ...
//     dotnet run -- models/line/model.onnx --product ring picture.ppm ...
//
// One line per picture: file, decision, score, p-value, and of a model of several products by which one it was judged;
// without --product, each picture is judged as the product that it resembles most. Exit code: 0 all ok or review, 1 any defective or invalid,
// 2 wrong use or an unusable picture. There is no pre-processing to re-write: the model takes the camera's pixels.

using System.Globalization;
using Microsoft.ML.OnnxRuntime;

namespace DefectFlow;

/// <summary>Higher decisions are worse: 0 ok, 1 review, 2 defect, 3 invalid.</summary>
public enum Decision : long { Ok = 0, Review = 1, Defect = 2, Invalid = 3 }

/// <summary>The score is dimensionless, higher is worse; the p-value is the share of good parts at least as unusual.
/// Product: by whose limits it was judged, where the model has several.</summary>
public readonly record struct Verdict(Decision Decision, float Score, float PValue, string? Product);

/// <summary>Rows from the top, three bytes per pixel in the order red, green, blue, no gaps between rows.</summary>
public sealed record Picture(long Height, long Width, byte[] Rgb);

/// <summary>Keep one for as long as the program runs; Inspect may be called from several threads.</summary>
public sealed class Inspector : IDisposable
{
    private readonly InferenceSession _session;
    private readonly RunOptions _run = new();
    private readonly string[] _outputs;

    /// <summary>In the order of their numbers; empty for a model of one product.</summary>
    public string[] Products { get; }

    public Inspector(string model)
    {
        _session = new InferenceSession(model);
        string names = _session.ModelMetadata.CustomMetadataMap.GetValueOrDefault("defectflow.products", "");
        Products = names.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        string[] outputs = ["decision", "score", "p_value"];
        _outputs = Products.Length > 0 ? [.. outputs, "product_index"] : outputs;
    }

    /// <summary>product: of a model of several, what the picture shows; null: the one that it resembles most.</summary>
    public Verdict Inspect(Picture picture, string? product = null)
    {
        long number = product is null ? -1 : Array.IndexOf(Products, product);
        if (product is not null && number < 0)
            throw new ArgumentException($"the model has no product {product}; it has: {string.Join(", ", Products)}");
        long[] shape = [1, picture.Height, picture.Width, 3], one = [1], numbers = [number];
        using OrtValue image = OrtValue.CreateTensorValueFromMemory(picture.Rgb, shape);
        using OrtValue asked = OrtValue.CreateTensorValueFromMemory(numbers, one);
        var inputs = new Dictionary<string, OrtValue> { ["image"] = image }; // thresholds have calibrated defaults
        if (Products.Length > 0) inputs["product"] = asked;
        using var found = _session.Run(_run, inputs, _outputs);
        return new Verdict(
            (Decision)found[0].GetTensorDataAsSpan<long>()[0],
            found[1].GetTensorDataAsSpan<float>()[0],
            found[2].GetTensorDataAsSpan<float>()[0],
            Products.Length > 0 ? Products[found[3].GetTensorDataAsSpan<long>()[0]] : null);
    }

    public void Dispose()
    {
        _run.Dispose();
        _session.Dispose();
    }
}

public static class Program
{
    public static int Main(string[] words)
    {
        string? product = words.Length > 2 && words[1] == "--product" ? words[2] : null;
        string[] files = words.Skip(product is null ? 1 : 3).ToArray();
        if (files.Length == 0)
        {
            Console.Error.WriteLine("use: inspect model.onnx [--product NAME] picture.ppm ...");
            return 2;
        }
        int code = 0;
        using var inspector = new Inspector(words[0]);
        if (product is not null && !inspector.Products.Contains(product))
        {
            Console.Error.WriteLine($"--product {product}: the model has: {string.Join(", ", inspector.Products)}");
            return 2;
        }
        foreach (string file in files)
        {
            try
            {
                Verdict verdict = inspector.Inspect(ReadPpm(file), product);
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{file} {verdict.Decision.ToString().ToLowerInvariant()} {verdict.Score:G6} {verdict.PValue:G6} {verdict.Product}").TrimEnd());
                if (verdict.Decision >= Decision.Defect && code == 0) code = 1;
            }
            catch (Exception error) when (error is IOException or InvalidDataException or UnauthorizedAccessException or OverflowException)
            {
                Console.Error.WriteLine($"{file}: {error.Message}"); // one unusable picture stops nothing
                code = 2;
            }
        }
        return code;
    }

    // A binary PPM file (P6, 8 bits). On a line the pixels come from the camera's own library instead.
    private static Picture ReadPpm(string name)
    {
        using var file = new BinaryReader(File.OpenRead(name));
        string kind = Word(file);
        bool sized = long.TryParse(Word(file), out long width) & long.TryParse(Word(file), out long height);
        if (kind != "P6" || !sized || Word(file) != "255" || width is < 1 or > 30000 || height is < 1 or > 30000)
            throw new InvalidDataException("is not a binary PPM picture (P6) of 8 bits");
        byte[] rgb = file.ReadBytes(checked((int)(width * height * 3)));
        if (rgb.Length != width * height * 3) throw new InvalidDataException("is cut short");
        return new Picture(height, width, rgb);
    }

    // The next word of the header, and the one byte of white space after it. Comments are not understood.
    private static string Word(BinaryReader file)
    {
        var word = new List<char>();
        for (char next = (char)file.ReadByte(); !char.IsWhiteSpace(next) && word.Count < 20; next = (char)file.ReadByte())
            word.Add(next);
        return new string([.. word]);
    }
}
